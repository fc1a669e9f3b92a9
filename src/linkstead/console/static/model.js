// The editor of a thing model: a file goes into it, and a fault leads to its line.
const editor = document.getElementById("tsl");

document.getElementById("file").addEventListener("change", async (event) => {
  const [file] = event.target.files;
  if (!file) return;
  editor.value = await file.text();
  editor.dispatchEvent(new Event("input", { bubbles: true }));
});

document.getElementById("check").addEventListener("click", (event) => {
  const line = Number(event.target.dataset.go);
  if (!line) return;
  const lines = editor.value.split("\n");
  const start = lines.slice(0, line - 1).reduce((total, text) => total + text.length + 1, 0);
  editor.focus();
  editor.setSelectionRange(start, start + (lines[line - 1] ?? "").length);
  editor.scrollTop = (line - 4) * (editor.scrollHeight / lines.length);
});
