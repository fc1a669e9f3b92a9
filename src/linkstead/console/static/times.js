// Times in the viewer's zone.
const zone = new Intl.DateTimeFormat(document.documentElement.lang, {
  year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false,
});

export function tellTimes(root) {
  for (const time of root.querySelectorAll("time:not([title])")) {
    const ms = Date.parse(time.dateTime);
    time.title = time.textContent;
    time.textContent = `${zone.format(ms)}.${String(ms % 1000).padStart(3, "0")}`;
  }
}

export function readRows(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  tellTimes(template.content);
  return template.content;
}
