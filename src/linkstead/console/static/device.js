// The chart of a property's last values, drawn when it is asked for; and messages as they pass, while they are looked at.
import { readRows } from "./times.js";
import uPlot from "./vendor/uplot.js";

const place = document.getElementById("chart");
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const zone = new Intl.DateTimeFormat(document.documentElement.lang, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
let chart;

async function show(identifier) {
  const answer = await fetch(place.dataset.address + encodeURIComponent(identifier));
  if (!answer.ok) return;
  const { points } = await answer.json();
  chart?.destroy();
  chart = undefined;
  place.hidden = false;
  const values = points.map(([, value]) => Number(value));
  place.querySelector("h3").textContent = points.length ? `${identifier}: ${values.at(-1)}` : place.dataset.empty;
  if (!points.length) return;
  const axis = { stroke: colour("--faint"), grid: { stroke: colour("--border") }, ticks: { stroke: colour("--border") } };
  chart = new uPlot({
    width: place.clientWidth || 300,
    height: 180,
    legend: { show: false },
    cursor: { show: false },
    axes: [{ ...axis, values: (_, times) => times.map((time) => zone.format(time * 1000)), space: 80 }, { ...axis, size: 56 }],
    series: [{}, { stroke: colour("--open"), width: 2, points: { show: true, size: 4 } }],
  }, [points.map(([time]) => time / 1000), values], place);
}

document.addEventListener("click", (event) => {
  const identifier = event.target.dataset?.chart;
  if (identifier) show(identifier);
});

// --- messages ---

const ROWS_MAX = 100;
const messages = document.getElementById("messages");
let source;

function follow() {
  const [state, rows] = [messages.querySelector("[role=status]"), messages.querySelector("tbody")];
  source = new EventSource(messages.dataset.live);
  source.addEventListener("open", () => (state.textContent = messages.dataset.liveText));
  source.addEventListener("error", () => (state.textContent = messages.dataset.lostText));
  source.addEventListener("rows", ({ data }) => {
    const line = data.indexOf("\n");
    const dropped = Number(data.slice(0, line));
    const found = [...readRows(`<table>${data.slice(line + 1)}</table>`).querySelectorAll("tr")];
    if (dropped) found.push(tellSkipped(dropped));
    rows.prepend(...found);
    while (rows.rows.length > ROWS_MAX) rows.rows[rows.rows.length - 1].remove();
  });
}

function tellSkipped(count) {
  const row = document.createElement("tr");
  const cell = row.insertCell();
  cell.colSpan = 5;
  cell.className = "faint";
  cell.textContent = messages.dataset.skipped.replace("{count}", count);
  return row;
}

// One connection of the few that a browser makes to a server: only while it is open.
messages?.addEventListener("toggle", () => (messages.open ? follow() : source?.close()));
addEventListener("pagehide", () => source?.close());
