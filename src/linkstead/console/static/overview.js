// The charts of the last five minutes. Points are kept for so long and no longer.
import uPlot from "./vendor/uplot.js";

const SECONDS = 300;
const TONES = ["good", "late", "away", "bad"];
const RANKS = ["p50", "p95", "p99"];
const SHARES = [0.5, 0.95, 0.99];
const pulse = document.getElementById("pulse");
const seconds = new Map();
let nowS = 0;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const zone = new Intl.DateTimeFormat(document.documentElement.lang, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });

function makeChart(id, series) {
  const place = document.getElementById(id);
  const axis = { stroke: colour("--faint"), grid: { stroke: colour("--border") }, ticks: { stroke: colour("--border") } };
  const chart = new uPlot({
    width: place.clientWidth || 300,
    height: 200,
    legend: { live: false },
    cursor: { show: false },
    scales: { x: { time: true }, y: { range: (_, low, high) => [0, Math.max(high ?? 0, 1) * 1.1] } },
    axes: [{ ...axis, values: (_, times) => times.map((time) => zone.format(time * 1000)), space: 80 }, { ...axis, size: 56 }],
    series: [{}, ...series],
  }, [[], ...series.map(() => [])], place);
  new ResizeObserver(() => chart.setSize({ width: place.clientWidth, height: 200 })).observe(place);
  return chart;
}

const rate = makeChart("rate", TONES.map((tone) => ({ label: pulse.dataset[tone], stroke: colour(`--${tone}`), width: 2, points: { show: false } })));
const latency = makeChart("latency", RANKS.map((rank, at) => ({
  label: rank, stroke: colour(["--open", "--late", "--bad"][at]), width: 2, points: { show: true, size: 3 }, spanGaps: true,
})));

// What a node tells of a second; of one there may be several parts: of other nodes, and the rest of one that was begun.
function add(part) {
  const second = seconds.get(part.at_s) ?? { answers: [], ...Object.fromEntries(TONES.map((tone) => [tone, 0])) };
  for (const tone of TONES) second[tone] += part[tone];
  for (const span of part.spans) second.answers.push([span, part.good / part.spans.length]);
  second.answers.sort(([a], [b]) => a - b);
  seconds.set(part.at_s, second);
  RANKS.forEach((rank, at) => (second[rank] = find(second.answers, SHARES[at])));
}

// The span that so great a share of the answers did not take.
function find(answers, share) {
  let left = share * answers.reduce((sum, [, weight]) => sum + weight, 0);
  for (const [span, weight] of answers) {
    left -= weight;
    if (left < 0) return span;
  }
  return answers.at(-1)?.[0] ?? null;
}

function take(data) {
  nowS = data.now_s;
  data.seconds.forEach(add);
  for (const at of seconds.keys()) if (at <= nowS - SECONDS) seconds.delete(at);
  draw();
}

function draw() {
  const times = Array.from({ length: SECONDS }, (_, at) => nowS - SECONDS + at);
  const column = (name, missing) => times.map((time) => seconds.get(time)?.[name] ?? missing);
  rate.setData([times, ...TONES.map((tone) => column(tone, 0))]);
  latency.setData([times, ...RANKS.map((rank) => column(rank, null))]);
  const last = seconds.get(nowS - 1);
  document.getElementById("rate-now").textContent = TONES.map((tone) => `${pulse.dataset[tone]} ${last?.[tone] ?? 0}`).join(" · ");
  document.getElementById("latency-now").textContent = RANKS.map((rank) => `${rank} ${last?.[rank] ?? "–"} ms`).join(" · ");
}

const source = new EventSource("/console/overview/pulse");
source.addEventListener("seconds", (event) => take(JSON.parse(event.data)));
addEventListener("pagehide", () => source.close());
