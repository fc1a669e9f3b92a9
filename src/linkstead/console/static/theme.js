// Before anything is drawn: without a wish of the viewer's, the browser's own preference.
const page = document.documentElement;
if (!page.classList.contains("light") && !page.classList.contains("dark") && matchMedia("(prefers-color-scheme: dark)").matches) {
  page.classList.add("dark");
}
addEventListener("DOMContentLoaded", () => {
  const change = document.getElementById("theme");
  const wished = page.classList.contains("dark") ? "light" : "dark";
  change.href = change.href.replace(/to=(light|dark)/, `to=${wished}`);
});
