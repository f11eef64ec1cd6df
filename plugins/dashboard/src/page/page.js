// The page: listens to the training, shows what it hears, and sends what the buttons ask for.

import { Chart, range, readable } from "./chart.js";

const byId = (id) => document.getElementById(id);
const MAX_MESSAGES = 100;
/** Epochs of the table, the latest ones. */
const MAX_TABLE_ROWS = 500;

/** Curves of other logs than metrics that are shown without being asked for. */
const MAX_OPEN = 4;

const state = {
  info: null,
  facts: null,
  latest: null,
  heard: 0,
  batches: { keys: [], rows: [] },
  epochs: { keys: [], rows: [] },
  messages: [],
  /** What has changed since it was last shown: all of the run, and the messages. */
  fresh: false,
  saidMore: false,
  lost: false,
};
const charts = new Map();

function append(curve, part) {
  curve.keys = part.keys;
  if (part.whole) curve.rows = part.rows;
  else for (const row of part.rows) curve.rows.push(row);
}

function hear(update) {
  if (update.info) {
    // A run this page knows nothing of.
    state.info = update.info;
    state.facts = update.facts;
    state.messages = [];
    for (const chart of charts.values()) chart.figure.remove();
    charts.clear();
    byId("more").hidden = true;
    state.fresh = true;
  }
  append(state.batches, update.batches);
  append(state.epochs, update.epochs);
  say(...update.messages);
  state.latest = update;
  state.heard = performance.now();
  state.lost = false;
  schedule();
}

function say(...messages) {
  if (messages.length) state.saidMore = true;
  state.messages = state.messages.concat(messages).slice(-MAX_MESSAGES);
}

let scheduled = false;
function schedule() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    if (state.latest && state.latest.run > 0) show();
    showPhase();
  });
}

const running = () => state.latest && (state.latest.phase === "training" || state.latest.phase === "validating");

/* ---- Texts ---- */

function duration(seconds) {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, "0")} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${String(Math.floor((s % 3600) / 60)).padStart(2, "0")} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

function rate(value) {
  return value >= 100 ? Math.round(value).toLocaleString("en") : value.toPrecision(3);
}

const percent = (share) => `${share > 0 && share < 0.01 ? "< 1" : Math.round(100 * share)} %`;

function set(id, text, small) {
  const element = byId(id);
  element.replaceChildren(text);
  if (small) {
    const extra = document.createElement("small");
    extra.textContent = ` ${small}`;
    element.append(extra);
  }
}

function list(id, entries) {
  const element = byId(id);
  const nodes = [];
  for (const [key, value] of entries) {
    const line = document.createElement("div"), name = document.createElement("dt"), text = document.createElement("dd");
    name.textContent = key;
    text.textContent = value;
    line.append(name, text);
    nodes.push(line);
  }
  element.replaceChildren(...nodes);
}

/* ---- Parts of the page ---- */

function phase() {
  const { latest } = state;
  if (state.lost && (!latest || running())) return ["lost", latest ? "connection lost" : "no connection"];
  if (!latest || latest.run === 0) return ["", "connecting …"];
  if (latest.stop_asked && running()) return ["stopping", "stopping"];
  if (latest.phase === "ended") return ["ended", latest.stop_asked ? "stopped" : "finished"];
  return [latest.phase, latest.phase];
}

function showPhase() {
  const [kind, text] = phase();
  const element = byId("phase");
  element.className = `phase ${kind}`;
  if (element.textContent !== text) element.textContent = text;
  const { latest } = state;
  const live = running() && !state.lost;
  byId("stop").hidden = Boolean(latest && latest.run > 0 && !running());
  byId("stop").disabled = !live || latest.stop_asked;
  byId("save").hidden = !(latest && latest.can_save && running());
  byId("save").disabled = !live || latest.save_asked;
  byId("close").hidden = !(latest && latest.run > 0 && !running() && latest.lingers && !latest.closing && !state.lost);
}

function showProgress() {
  const { latest, info } = state;
  const first = info.initial_epoch, epochs = info.epochs - first;
  const current = latest.phase === "validating" ? 1 : latest.steps ? Math.min(1, latest.done / latest.steps) : 0;
  const whole = epochs > 0 ? Math.min(1, (latest.epoch - first + current) / epochs) : 1;
  const bar = byId("bar");
  bar.querySelector("span").style.transform = `translateX(${100 * (whole - 1)}%)`;
  bar.setAttribute("aria-valuenow", String(Math.round(100 * whole)));
  set("epoch", String(Math.min(latest.epoch + 1, info.epochs)), `of ${info.epochs}`);
  const validating = latest.phase === "validating";
  byId("batch-name").textContent = validating ? "Validation batch" : "Batch";
  if (validating) set("batch", String(latest.validated));
  else set("batch", String(latest.done), latest.steps ? `of ${latest.steps}` : "");
  if (latest.samples_per_s) set("speed", rate(latest.samples_per_s), "samples/s");
  const name = running() ? `${Math.round(100 * whole)} % · epoch ${latest.epoch + 1} of ${info.epochs}` : phase()[1];
  document.title = `${name} · training`;
}

/** What goes on between two updates. */
function showClock() {
  const { latest } = state;
  if (!latest || latest.run === 0) return;
  const since = running() && !state.lost ? (performance.now() - state.heard) / 1000 : 0;
  set("elapsed", duration(latest.elapsed_s + since));
  const left = latest.to_go_s;
  if (!running()) set("to-go", "–");
  else if (left === null) set("to-go", "…");
  else set("to-go", `≈ ${duration(Math.max(0, left - since)).replace(/^(\d)\.\d s$/, "$1 s")}`);
}

/** Where a row stands on the x axis: epochs done, or batches while nobody knows how many an epoch has. */
function position([epoch, done], steps) {
  if (steps === null) return done;
  return epoch + Math.min(1, steps > 0 ? done / steps : 1);
}

function points(curve, key, x) {
  const place = curve.keys.indexOf(key);
  if (place < 0) return [];
  const list = [];
  for (const row of curve.rows) {
    const value = row[2][place];
    if (value !== undefined) list.push([x(row), value]);
  }
  return list;
}

function showCharts() {
  const { latest, info, batches, epochs } = state;
  const steps = latest.steps;
  const byBatch = (row) => position(row, steps);
  const byEpoch = ([epoch, done]) => (steps === null ? done : epoch + 1);
  const names = [];
  for (const key of info.metrics.concat(epochs.keys, batches.keys)) {
    const name = key.startsWith("val_") ? key.slice(4) : key;
    if (!names.includes(name)) names.push(name);
  }
  // The learning rate is not what one looks at first.
  names.sort((a, b) => (a === "learning_rate") - (b === "learning_rate"));
  const values = new Map(latest.latest);
  const last = batches.rows.length ? byBatch(batches.rows[batches.rows.length - 1]) : 0;
  const end = epochs.rows.length ? byEpoch(epochs.rows[epochs.rows.length - 1]) : 0;
  const first = Math.min(info.initial_epoch, epochs.rows.length ? epochs.rows[0][0] : Infinity);
  const xs = steps === null ? [0, Math.max(last, 1)] : [first, Math.max(last, end, first + 1)];
  for (const name of names) {
    const raw = points(batches, name, byBatch);
    const means = points(epochs, name, byEpoch);
    const validation = points(epochs, `val_${name}`, byEpoch);
    if (raw.length + means.length + validation.length === 0) continue;
    const lines = [];
    const alone = name === "learning_rate", metric = info.metrics.includes(name);
    const latestOf = (key, list) => (values.has(key) ? values.get(key) : list.length ? list[list.length - 1][1] : null);
    if (raw.length) lines.push({ style: "s0", raw: !alone, steps: alone, points: raw, name: alone ? "now" : "", latest: latestOf(name, raw) });
    if (means.length && !(alone && raw.length)) lines.push({ style: "s0", points: means, name: metric ? "training" : "latest", latest: latestOf(name, means) });
    else if (raw.length && !alone) lines[0].name = metric ? "training" : "latest";
    if (lines.length && !lines.some((line) => line.name)) lines[0].latest = latestOf(name, raw);
    if (validation.length) {
      const value = validation[validation.length - 1][1];
      lines.push({ style: "s1", dashed: true, points: validation, name: "validation", latest: value });
    }
    const shown = range(lines);
    const wide = shown && shown[0] > 0 && shown[1] / shown[0] > (alone ? 20 : 1000);
    if (!charts.has(name)) {
      const place = byId(metric || alone ? "charts" : "more-charts");
      charts.set(name, new Chart(place, alone ? "learning rate" : name));
      if (charts.size === 1) charts.get(name).figure.classList.add("first");
      showMore(place);
    }
    const chart = charts.get(name);
    chart.heading.textContent = chart.title + (wide ? " (log scale)" : "");
    chart.show(lines, { xs, unit: steps === null ? "batch" : "epoch", log: wide });
  }
}

/** Curves that are no metrics: a few are shown, many only if one opens them. */
function showMore(place) {
  if (place.id !== "more-charts") return;
  const more = byId("more"), count = place.childElementCount;
  if (count === 1) more.open = true;
  else if (count === MAX_OPEN + 1) more.open = false;
  more.hidden = false;
  more.querySelector("summary").textContent = `Other logs (${count})`;
}

function showData() {
  const { waits } = state.latest;
  if (!waits || !(waits.epoch_s > 0)) return;
  const share = Math.min(1, waits.data_s / waits.epoch_s);
  let sentence = "Data keeps up: the training hardly waits.";
  if (share >= 0.1) sentence = "The training waits for data. More workers, or cheaper samples, would make it faster.";
  else if (share >= 0.02) sentence = "The training waits for data now and then.";
  else if (waits.queue && waits.queue.workers_s > waits.epoch_s / 2) sentence = "Data waits for the training: workers have time to spare.";
  byId("waits").textContent = sentence;
  byId("share").hidden = false;
  byId("share-train").textContent = percent(1 - share);
  byId("share-wait").textContent = percent(share);
  const bar = byId("share-bar");
  bar.querySelector("span").style.transform = `translateX(${-100 * share}%)`;
  bar.setAttribute("aria-label", `waiting for data ${percent(share)} of this epoch's time`);
  const { queue } = waits;
  byId("queue").hidden = !queue;
  if (!queue) return;
  byId("queue-ready").textContent = `${queue.ready} of ${queue.capacity}`;
  const slots = byId("queue-slots"), count = Math.min(queue.capacity, 16);
  while (slots.childElementCount > count) slots.lastChild.remove();
  while (slots.childElementCount < count) slots.append(document.createElement("i"));
  const full = Math.round((queue.ready / Math.max(1, queue.capacity)) * count);
  [...slots.children].forEach((slot, index) => slot.classList.toggle("full", index < full));
  slots.setAttribute("aria-label", `${queue.ready} of ${queue.capacity} batches are ready`);
}

function showMessages() {
  const nodes = state.messages.map((message) => {
    const item = document.createElement("li"), when = document.createElement("small");
    item.className = message.level;
    when.textContent = `${duration(message.elapsed_s)} · ${message.source}`;
    if (message.level !== "info") {
      const level = document.createElement("b");
      level.textContent = `${message.level}: `;
      item.append(level);
    }
    item.append(message.text, when);
    return item;
  });
  if (nodes.length === 0) {
    const none = document.createElement("li");
    none.className = "none";
    none.textContent = "None.";
    nodes.push(none);
  }
  byId("messages").replaceChildren(...nodes.reverse());
}

/** The facts as lines: what is nested becomes `outer.inner`. */
function flat(value, name, lines) {
  if (Array.isArray(value)) lines.push([name, value.map(itemText).join(", ")]);
  else if (value !== null && typeof value === "object") {
    for (const key of Object.keys(value)) flat(value[key], name ? `${name}.${key}` : key, lines);
  } else lines.push([name, typeof value === "number" && !Number.isInteger(value) ? readable(value) : String(value)]);
  return lines;
}

/** An item of a list; of an array of the network its name, shape and loss. */
function itemText(item) {
  if (item === null || typeof item !== "object") return String(item);
  const parts = [item.name, Array.isArray(item.shape) ? item.shape.join(" × ") : "", item.loss ?? ""];
  return parts.filter(Boolean).join(": ") || JSON.stringify(item);
}

/** The kinds of the layers of a network in Keras's format. */
function layers(network) {
  const list = network?.config?.layers;
  return Array.isArray(list) ? list.map((layer) => layer.class_name).join(" → ") : "";
}

function showFacts() {
  const { info } = state;
  const lines = [
    ["epochs", info.initial_epoch ? `${info.initial_epoch + 1} to ${info.epochs}` : info.epochs],
    ["batches per epoch", info.steps ?? "not known beforehand"],
    ["validation", info.validation ? "yes" : "no"],
    ["metrics", info.metrics.join(", ")],
  ];
  const { network, ...others } = state.facts ?? {};
  // Told above already.
  for (const key of [...Object.keys(info), "version"]) delete others[key];
  flat(others, "", lines);
  if (layers(network)) lines.push(["layers", layers(network)]);
  if (state.facts?.version) lines.push(["keros", state.facts.version]);
  list("facts", lines);
}

function showTable() {
  const table = byId("table"), { keys, rows } = state.epochs;
  if (!table.closest("details").open) return;
  const head = document.createElement("tr");
  for (const name of ["epoch", "batches", ...keys]) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = name;
    head.append(cell);
  }
  const lines = rows.slice(-MAX_TABLE_ROWS).reverse().map(([epoch, done, values]) => {
    const line = document.createElement("tr");
    for (const text of [epoch + 1, done, ...keys.map((_, i) => (i < values.length ? readable(values[i]) : ""))]) {
      line.insertCell().textContent = text;
    }
    return line;
  });
  table.replaceChildren(head, ...lines);
}

function show() {
  showProgress();
  showClock();
  showCharts();
  showData();
  list("latest", state.latest.latest.map(([key, value]) => [key, readable(value)]));
  if (state.fresh) showFacts();
  if (state.fresh || state.saidMore) showMessages();
  state.fresh = state.saidMore = false;
  showTable();
}

/* ---- The training, and the buttons ---- */

const source = new EventSource("events");
source.onmessage = (event) => {
  const update = JSON.parse(event.data);
  hear(update);
  if (update.closing) source.close();
};
source.onerror = () => {
  state.lost = true;
  schedule();
};

async function ask(what) {
  try {
    const answer = await fetch(what, { method: "POST" });
    if (!answer.ok) throw new Error(await answer.text());
  } catch (error) {
    const said = { level: "error", source: "this page", text: `“${what}” was not done: ${error.message}`, elapsed_s: state.latest ? state.latest.elapsed_s : 0 };
    say(said);
    schedule();
  }
}

byId("stop").addEventListener("click", () => byId("confirm").showModal());
byId("confirm").addEventListener("close", () => {
  if (byId("confirm").returnValue === "yes") ask("stop");
  byId("confirm").returnValue = "";
});
byId("save").addEventListener("click", () => ask("save"));
byId("close").addEventListener("click", () => ask("close"));
document.querySelector("details.table").addEventListener("toggle", showTable);
setInterval(() => {
  if (!document.hidden) showClock();
}, 500);
