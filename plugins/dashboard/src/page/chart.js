// One chart as SVG: lines over epochs, with axes a person would draw and a crosshair for mouse and finger.

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = { top: 8, right: 10, bottom: 30, left: 52 };
/** Points of epochs have dots if they are so far apart, in pixels. */
const DOT_ROOM = 18;
/** A pointer that near to a point of an epoch means it, and not a batch beside it. */
const NEAR = 18;

function svg(name, attributes, parent) {
  const element = document.createElementNS(SVG, name);
  for (const key in attributes) element.setAttribute(key, attributes[key]);
  if (parent) parent.append(element);
  return element;
}

/** A number for people: four significant digits, no exponent where none is needed. */
export function readable(value) {
  if (value === null || value === undefined) return "NaN";
  if (typeof value !== "number") return String(value);
  const size = Math.abs(value);
  if (value === 0 || (size >= 1e-3 && size < 1e6)) {
    const text = size >= 1000 ? value.toFixed(size >= 1e4 ? 0 : 1) : value.toPrecision(4);
    return Number(text) === Math.round(value) && Number.isInteger(value) ? String(value) : text;
  }
  return value.toExponential(2);
}

/** Round numbers that divide the range into about `count` parts. */
function ticks(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  // Counted from the first: a number may be so large that the next is the same.
  const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
  const list = [];
  for (let i = 0; i <= last - first; i++) list.push((first + i) * step);
  return { list, step };
}

/** Powers of ten in the range, with 2 and 5 between them if there are few. */
function logTicks(low, high) {
  const list = [];
  const factors = Math.log10(high / low) > 2.5 ? [1] : [1, 2, 5];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    for (const factor of factors) {
      const value = factor * 10 ** power;
      if (value >= low * 0.999 && value <= high * 1.001) list.push(Number(value.toPrecision(2)));
    }
  }
  return list;
}

/** The number at a tick, with just the digits that tell it from its neighbours `step` away. */
function tickText(value, step) {
  const size = Math.abs(value), last = Math.floor(Math.log10(step) + 1e-9);
  if (size < step / 1e6) return "0";
  if (size < 1e6 && last >= -5) return value.toFixed(Math.max(0, -last));
  return value.toExponential(Math.max(0, Math.floor(Math.log10(size)) - last)).replace("e+", "e");
}

/** The range of the values to show. Of many batch values the most extreme hundredth may lie outside. */
export function range(lines) {
  let values = [];
  for (const line of lines) {
    let own = line.points.map((point) => point[1]).filter(Number.isFinite);
    if (line.raw && own.length > 100) {
      own.sort((a, b) => a - b);
      const cut = Math.floor(own.length / 100);
      own = own.slice(cut, own.length - cut);
    }
    values = values.concat(own);
  }
  if (values.length === 0) return null;
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return [low, high];
}

/** A path through the points: smooth, but never beyond them; in steps; or straight. Gaps where values are missing. */
function path(points, shape) {
  let text = "", run = [];
  const flush = () => {
    if (run.length === 1) text += `M${run[0][0]},${run[0][1]}h.01`;
    else if (shape === "steps") text += "M" + run[0] + run.slice(1).map(([x, y]) => `H${x}V${y}`).join("");
    else if (shape === "smooth" && run.length > 2) text += monotone(run);
    else if (run.length > 1) text += "M" + run.join("L");
    run = [];
  };
  for (const point of points) {
    if (Number.isFinite(point[1])) run.push([point[0].toFixed(1), point[1].toFixed(1)].map(Number));
    else flush();
  }
  flush();
  return text;
}

/** Fritsch and Carlson's monotone cubic through at least three points. */
function monotone(points) {
  const n = points.length, slope = [], tangent = [];
  for (let i = 0; i < n - 1; i++) {
    const width = points[i + 1][0] - points[i][0] || 1e-6;
    slope.push((points[i + 1][1] - points[i][1]) / width);
  }
  for (let i = 0; i < n; i++) {
    const before = slope[Math.max(0, i - 1)], after = slope[Math.min(n - 2, i)];
    if (before * after <= 0) tangent.push(0);
    else tangent.push(Math.sign(before) * Math.min(Math.abs(before + after) / 2, 3 * Math.abs(before), 3 * Math.abs(after)));
  }
  let text = "M" + points[0];
  for (let i = 0; i < n - 1; i++) {
    const third = (points[i + 1][0] - points[i][0]) / 3;
    const a = [points[i][0] + third, points[i][1] + tangent[i] * third];
    const b = [points[i + 1][0] - third, points[i + 1][1] - tangent[i + 1] * third];
    text += `C${a.map((v) => v.toFixed(1))} ${b.map((v) => v.toFixed(1))} ${points[i + 1]}`;
  }
  return text;
}

let count = 0;

/**
 * A chart of lines `{ name, style, raw, steps, dashed, latest, points: [[x, y], …] }`, with x ascending:
 * raw ones are thin, those of steps keep each value until the next.
 * `show(lines, { xs: [low, high], unit, log })` draws them.
 */
export class Chart {
  constructor(parent, title) {
    this.figure = document.createElement("figure");
    this.figure.className = "card chart";
    const caption = document.createElement("figcaption");
    this.heading = document.createElement("h2");
    this.heading.textContent = title;
    this.legend = document.createElement("p");
    this.legend.className = "legend";
    caption.append(this.heading, this.legend);
    this.plot = document.createElement("div");
    this.plot.className = "plot";
    this.tip = document.createElement("div");
    this.tip.className = "tip";
    this.tip.hidden = true;
    this.svg = svg("svg", { role: "img" });
    this.plot.append(this.svg, this.tip);
    this.figure.append(caption, this.plot);
    parent.append(this.figure);
    this.title = title;
    this.clip = "clip" + count++;
    this.shown = null;
    this.pointer = null;
    const move = (event) => {
      this.pointer = event.clientX - this.plot.getBoundingClientRect().left;
      this.point();
    };
    const leave = () => {
      this.pointer = null;
      this.point();
    };
    this.plot.addEventListener("pointermove", move);
    this.plot.addEventListener("pointerdown", move);
    this.plot.addEventListener("pointerleave", leave);
    this.plot.addEventListener("pointercancel", leave);
    new ResizeObserver(() => this.draw()).observe(this.plot);
  }

  show(lines, options) {
    this.lines = lines;
    this.options = options;
    this.shown = range(lines);
    this.legend.replaceChildren();
    const words = [];
    for (const line of lines) {
      if (!line.name) continue;
      const key = document.createElement("span");
      key.className = `key ${line.style}${line.dashed ? " dashed" : ""}`;
      const value = document.createElement("b");
      value.textContent = readable(line.latest);
      this.legend.append(key, line.name + " ", value);
      words.push(`${line.name} ${readable(line.latest)}`);
    }
    this.svg.setAttribute("aria-label", `${this.title}: ${words.join(", ") || "no values yet"}`);
    this.draw();
  }

  draw() {
    const width = this.plot.clientWidth, height = this.svg.clientHeight;
    if (!this.shown || width < 80 || height < 80) return;
    const { xs, unit, log } = this.options;
    let [low, high] = this.shown;
    const inner = { width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom };
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.replaceChildren();

    const size = Math.max(Math.abs(low), Math.abs(high));
    if (high - low <= 1e-9 * size) {
      // As good as equal; of what is between them there may be no number.
      const pad = size * 0.05 || 1;
      low -= log ? 0 : pad;
      high += pad;
    }
    let marks, step;
    const place = log ? Math.log10 : (value) => value;
    if (log) {
      low /= 1.15;
      high *= 1.15;
      marks = logTicks(low, high);
    } else {
      // Axes begin and end at round numbers.
      ({ step } = ticks(low, high, inner.height / 48));
      low = Math.floor(low / step + 1e-6) * step;
      high = Math.ceil(high / step - 1e-6) * step;
      marks = ticks(low, high, (high - low) / step).list;
    }
    const scale = inner.height / (place(high) - place(low));
    const toY = (value) => (value === null ? NaN : MARGIN.top + (place(high) - place(value)) * scale);
    const span = xs[1] - xs[0] || 1;
    this.toX = (x) => MARGIN.left + ((x - xs[0]) / span) * inner.width;
    this.toY = toY;

    const bottom = MARGIN.top + inner.height;
    const clip = svg("clipPath", { id: this.clip }, svg("defs", {}, this.svg));
    svg("rect", { x: MARGIN.left - 5, y: MARGIN.top - 5, width: inner.width + 10, height: inner.height + 10 }, clip);
    for (const value of marks) {
      const y = Math.round(toY(value)) + 0.5;
      svg("line", { class: "grid", x1: MARGIN.left, x2: MARGIN.left + inner.width, y1: y, y2: y }, this.svg);
      const text = svg("text", { x: MARGIN.left - 8, y: y + 4, "text-anchor": "end" }, this.svg);
      text.textContent = tickText(value, log ? value : step);
    }
    const across = ticks(xs[0], xs[1], Math.max(2, inner.width / 90));
    for (const value of across.list) {
      if (unit === "epoch" && !Number.isInteger(Number(value.toFixed(6)))) continue;
      const x = Math.round(this.toX(value)) + 0.5;
      svg("line", { class: "axis", x1: x, x2: x, y1: bottom, y2: bottom + 5 }, this.svg);
      const text = svg("text", { x, y: bottom + 18, "text-anchor": "middle" }, this.svg);
      text.textContent = tickText(value, Math.max(1, across.step));
    }
    svg("line", { class: "axis", x1: MARGIN.left, x2: MARGIN.left + inner.width, y1: bottom + 0.5, y2: bottom + 0.5 }, this.svg);
    const name = svg("text", { x: MARGIN.left + inner.width, y: bottom + 30, "text-anchor": "end" }, this.svg);
    name.textContent = unit;

    const group = svg("g", { "clip-path": `url(#${this.clip})` }, this.svg);
    for (const line of this.lines) {
      const points = line.points.map(([x, y]) => [this.toX(x), toY(y)]);
      const look = `${line.raw ? "raw" : "mean"}${line.dashed ? " dashed" : ""} ${line.style}`;
      svg("path", { class: look, d: path(points, line.raw ? "straight" : line.steps ? "steps" : "smooth") }, group);
      if (!line.raw && !line.steps && points.length * DOT_ROOM <= inner.width) {
        for (const [x, y] of points) {
          if (Number.isFinite(y)) svg("circle", { class: `dot ${line.style}`, cx: x, cy: y, r: 3.6 }, group);
        }
      }
    }
    this.cross = svg("g", {}, this.svg);
    this.point();
  }

  /** The crosshair and the values at it. */
  point() {
    if (!this.cross) return;
    this.cross.replaceChildren();
    this.tip.hidden = true;
    if (this.pointer === null) return;
    let nearest = null;
    for (const line of this.lines) {
      for (const [x, y] of line.points) {
        if (!Number.isFinite(y)) continue;
        const distance = Math.abs(this.toX(x) - this.pointer);
        const far = line.raw ? distance : Math.max(0, distance - NEAR) + distance / 1e3;
        if (nearest === null || far < nearest.far) nearest = { far, x, raw: Boolean(line.raw) };
      }
    }
    if (nearest === null) return;
    const x = this.toX(nearest.x);
    const bottom = this.svg.clientHeight - MARGIN.bottom;
    svg("line", { class: "cross", x1: x, x2: x, y1: MARGIN.top, y2: bottom }, this.cross);
    this.tip.replaceChildren();
    const where = document.createElement("div");
    const digits = this.options.unit === "epoch" && !Number.isInteger(nearest.x) ? 2 : 0;
    where.textContent = `${this.options.unit} ${nearest.x.toFixed(digits)}`;
    this.tip.append(where);
    for (const line of this.lines) {
      const point = line.points.find(([px, y]) => px === nearest.x && Number.isFinite(y));
      if (!point || Boolean(line.raw) !== nearest.raw) continue;
      svg("circle", { class: `dot ${line.style}`, cx: x, cy: this.toY(point[1]), r: 4.6 }, this.cross);
      const row = document.createElement("div");
      const key = document.createElement("span");
      key.className = `key ${line.style}${line.dashed ? " dashed" : ""}`;
      const value = document.createElement("b");
      value.textContent = readable(point[1]);
      row.append(key, (line.name || "so far in the epoch") + " ", value);
      this.tip.append(row);
    }
    this.tip.hidden = false;
    const room = this.plot.clientWidth - this.tip.offsetWidth - 4;
    const left = x + 14 <= room ? x + 14 : x - 14 - this.tip.offsetWidth;
    this.tip.style.left = `${Math.max(4, Math.min(left, room))}px`;
  }
}
