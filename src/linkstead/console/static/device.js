// The chart of a property's last values, drawn when it is asked for.
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
