// What every page has: times in the viewer's zone, and buttons that copy.
import { tellTimes } from "./times.js";

function offerCopies(root) {
  for (const button of root.querySelectorAll("[data-copy]")) {
    if (!navigator.clipboard) continue;
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(location.href);
      button.textContent = button.dataset.copied;
    });
  }
}

tellTimes(document);
offerCopies(document);
document.addEventListener("htmx:after:swap", () => tellTimes(document));
