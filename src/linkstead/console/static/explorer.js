// The explorer: finding an action, further entries of a list, texts as Base64, and buttons that copy a program.
const find = document.getElementById("find");
find.hidden = false;
find.addEventListener("input", () => {
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const chapter of document.querySelectorAll(".actions details")) {
    let count = 0;
    for (const action of chapter.querySelectorAll("li")) {
      const text = action.dataset.text.toLowerCase();
      action.hidden = !words.every((word) => text.includes(word));
      if (!action.hidden) count += 1;
    }
    chapter.hidden = count === 0;
    if (words.length) chapter.open = count > 0;
  }
});

for (const button of document.querySelectorAll("[data-adds-entry]")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const entries = button.parentElement.querySelector(".entries");
    const number = entries.children.length + 1;
    const entry = entries.lastElementChild.cloneNode(true);
    for (const element of entry.querySelectorAll("[name], [id]")) {
      for (const attribute of ["name", "id", "aria-describedby"]) {
        const value = element.getAttribute(attribute);
        if (value) element.setAttribute(attribute, value.replace(/\.\d+\./, `.${number}.`));
      }
      if (element.name) element.value = "";
    }
    entries.append(entry);
    entry.querySelector("[name]").focus();
  });
}

for (const input of document.querySelectorAll("[data-encodes]")) {
  input.closest("label").hidden = false;
  const target = document.getElementById(input.dataset.encodes);
  input.addEventListener("input", () => {
    const bytes = new TextEncoder().encode(input.value);
    target.value = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  });
}

function offerCopies() {
  if (!navigator.clipboard) return;
  for (const button of document.querySelectorAll("[data-copies][hidden]")) button.hidden = false;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copies]");
  if (!button) return;
  await navigator.clipboard.writeText(document.getElementById(button.dataset.copies).textContent);
  button.textContent = button.dataset.done;
});
// What stands open stays open when the programs are written anew.
let open = [];
document.addEventListener("htmx:before:swap", () => {
  open = [...document.querySelectorAll("#programs details")].map((details) => details.open);
});
document.addEventListener("htmx:after:swap", () => {
  const all = [...document.querySelectorAll("#programs details")];
  if (all.length === open.length) all.forEach((details, index) => (details.open = open[index]));
  offerCopies();
});
offerCopies();
