// The list of calls: new ones come by server-sent events, older ones while one scrolls. The page holds a window of rows:
// of new ones at most FRESH_MAX; of older ones those near what is seen, the others leave their height behind.
import { readRows, tellTimes } from "./times.js";

const FRESH_MAX = 200;
let list, source, isPaused = false, held = [];

function start() {
  const found = document.getElementById("calls");
  if (found === list) return;
  list = found;
  held = [];
  source?.close();
  source = new EventSource(list.dataset.live);
  source.addEventListener("open", tell);
  source.addEventListener("error", () => say(list.dataset.lostText));
  source.addEventListener("rows", (event) => (isPaused ? hold(event.data) : show(event.data)));
  for (const rest of list.querySelectorAll("tbody[data-rest]")) ahead.observe(rest);
  for (const body of list.querySelectorAll("tbody:not(#fresh):not([data-rest])")) prepare(body, "");
}

function say(text) {
  const pulse = document.getElementById("pulse");
  if (pulse.textContent !== text) pulse.textContent = text;
}

function tell() {
  say(isPaused ? list.dataset.pausedText : list.dataset.liveText);
}

function hold(data) {
  held.push(data);
  if (held.length > 20) held.shift();
}

function show(data) {
  const fresh = document.getElementById("fresh");
  const line = data.indexOf("\n");
  const dropped = Number(data.slice(0, line));
  document.getElementById("none")?.remove();
  if (dropped) fresh.prepend(tellSkipped(dropped));
  for (const row of readRows(`<table>${data.slice(line + 1)}</table>`).querySelectorAll("tr")) {
    const known = document.getElementById(row.id);
    if (known) {
      known.replaceWith(row);
    } else {
      row.classList.add("fresh");
      fresh.prepend(row);
    }
  }
  while (fresh.rows.length > FRESH_MAX) fresh.rows[fresh.rows.length - 1].remove();
}

function tellSkipped(count) {
  const known = document.querySelector("#fresh > tr:first-child[data-count]");
  const row = known ?? document.createElement("tr");
  const total = count + Number(known?.dataset.count ?? 0);
  row.dataset.count = total;
  row.innerHTML = '<td colspan="7" class="faint"></td>';
  row.firstChild.textContent = list.dataset.skipped.replace("{count}", total);
  return row;
}

// --- older calls ---

const ahead = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) grow(entry.target);
}, { rootMargin: "800px" });

const around = new IntersectionObserver((entries) => {
  for (const entry of entries) (entry.isIntersecting ? fill : empty)(entry.target);
}, { rootMargin: "3000px" });

async function fetchBodies(address) {
  const answer = await fetch(address);
  if (!answer.ok) return [];
  return [...readRows(await answer.text()).querySelectorAll("tbody")];
}

async function grow(rest) {
  if (rest.dataset.busy) return;
  rest.dataset.busy = "yes";
  const address = rest.dataset.rest;
  const [body, next] = await fetchBodies(address);
  if (!body || !rest.isConnected) return;
  for (const row of [...body.rows]) if (document.getElementById(row.id)) row.remove();
  ahead.unobserve(rest);
  rest.replaceWith(...(next ? [body, next] : [body]));
  prepare(body, address);
  if (next) ahead.observe(next);
}

function prepare(body, address) {
  body.dataset.address = address;
  if (address) around.observe(body);
}

function empty(body) {
  if (!body.rows.length || body.dataset.isEmpty || !body.isConnected) return;
  const height = body.offsetHeight;
  if (!height) return;
  const spacer = document.createElement("tr");
  spacer.insertCell().colSpan = 7;
  spacer.style.height = `${height}px`;
  body.dataset.isEmpty = "yes";
  body.replaceChildren(spacer);
}

async function fill(body) {
  if (!body.dataset.isEmpty) return;
  const [found] = await fetchBodies(body.dataset.address);
  if (!found || !body.dataset.isEmpty) return;
  delete body.dataset.isEmpty;
  body.replaceChildren(...found.rows);
}

// --- the page ---

document.getElementById("pause").addEventListener("click", (event) => {
  isPaused = !isPaused;
  event.target.setAttribute("aria-pressed", String(isPaused));
  event.target.textContent = isPaused ? event.target.dataset.resume : event.target.dataset.pause;
  if (!isPaused) {
    held.forEach(show);
    held = [];
  }
  tell();
});
document.addEventListener("htmx:after:swap", start);
addEventListener("pagehide", () => source?.close());
tellTimes(document);
start();
