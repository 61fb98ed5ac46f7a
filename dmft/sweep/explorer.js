"use strict";
// Lines over one axis of the grid, a colour for each label of another; the rest is chosen.
const grid = JSON.parse(document.getElementById("grid-data").textContent);
const byId = (id) => document.getElementById(id);
const colours = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];
const width = 760, height = 400, left = 80, bottom = 50, top_ = 15, right = 15;

function options(select, names) {
  for (const [value, words] of names) select.add(new Option(words, value));
}

function index(position) {
  return position.reduce((sum, at, axis) => sum * grid.axes[axis].labels.length + at, 0);
}

function lines() {
  const x = Number(byId("grid-x").value), by = Number(byId("grid-by").value);
  const values = grid.values[byId("grid-value").value];
  const fixed = grid.axes.map((axis, number) => Number(byId(`grid-at-${number}`).value));
  const groups = by < 0 || by === x ? [null] : grid.axes[by].labels.map((_, at) => at);
  return groups.map((group) => ({
    name: group === null ? "" : `${grid.axes[by].name} = ${grid.axes[by].labels[group]}`,
    points: grid.axes[x].labels.map((label, at) => {
      const position = [...fixed];
      if (group !== null) position[by] = group;
      position[x] = at;
      const place = index(position);
      const error = values.error === null ? null : values.error[place];
      return { x: label, at, y: values.mean[place], error, place, position };
    }),
  }));
}

function words(point) {
  const where = grid.axes.map((axis, number) => `${axis.name} = ${axis.labels[point.position[number]]}`);
  const error = point.error === null ? "no error bar" : `± ${point.error.toExponential(1)} (standard error)`;
  const value = `${Number(point.y.toPrecision(5))} ${error}`;
  return [value, ...where, grid.status[point.place]].join("\n");
}

function scale(values, log, start, end) {
  const f = log ? Math.log10 : (value) => value;
  let low = Math.min(...values.map(f)), high = Math.max(...values.map(f));
  if (low === high) { low -= 0.5; high += 0.5; }
  const at = (value) => start + ((f(value) - low) / (high - low)) * (end - start);
  const round = log && high - low < 1 ? ticksBetween(10 ** low, 10 ** high) : null;
  return { at, ticks: round ?? ticksBetween(low, high, log ? 1 : 0).map((tick) => (log ? 10 ** tick : tick)) };
}

// Three to seven round numbers; exponents are whole.
function ticksBetween(low, high, least = 0) {
  const power = 10 ** Math.floor(Math.log10((high - low) / 3));
  const fitting = [5, 2, 1].map((factor) => factor * power).find((step) => step <= (high - low) / 3) ?? power;
  const step = Math.max(fitting, least);
  const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
}

function element(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function draw() {
  const svg = byId("grid-chart"), note = byId("grid-note"), key = byId("grid-key");
  svg.replaceChildren(); key.replaceChildren(); byId("grid-hover").hidden = true;
  const axis = grid.axes[Number(byId("grid-x").value)];
  const numeric = axis.labels.every((label) => typeof label === "number");
  const logX = byId("grid-log-x").checked && numeric && axis.labels.every((label) => label > 0);
  const logY = byId("grid-log-y").checked;
  const all = lines();
  const every = all.flatMap((line) => line.points);
  const good = every.filter((point) => point.y !== null && (!logY || point.y > 0));
  const left_out = every.length - good.length;
  const bars = grid.values[byId("grid-value").value].error ? "Bars: one standard error to either side. " : "";
  note.textContent = bars + (left_out ? `${left_out} of ${every.length} points have no value that this axis can show.` : "");
  if (!good.length) return;
  const place = (point) => (numeric ? point.x : point.at);
  const x = scale(every.map(place), logX, left, width - right);
  const y = scale(good.flatMap((point) => {
    const ends = [point.y - (point.error ?? 0), point.y + (point.error ?? 0)];
    return [point.y, ...ends].filter((value) => !logY || value > 0);
  }), logY, height - bottom, top_);
  const grey = { stroke: "#999", "stroke-width": 1 };
  const short = (value) => String(Number(value.toPrecision(3)));
  for (const tick of y.ticks) {
    svg.append(element("line", { x1: left, x2: width - right, y1: y.at(tick), y2: y.at(tick), stroke: "#e3e3e3" }));
    svg.append(element("text", { x: left - 8, y: y.at(tick) + 4, "text-anchor": "end" }, short(tick)));
  }
  const step = Math.ceil(axis.labels.length / 8);
  axis.labels.forEach((label, at) => {
    if (at % step) return;
    const words_ = numeric ? short(label) : label, across = x.at(numeric ? label : at);
    svg.append(element("text", { x: across, y: height - bottom + 18, "text-anchor": "middle" }, words_));
  });
  svg.append(element("line", { x1: left, x2: width - right, y1: height - bottom, y2: height - bottom, ...grey }));
  svg.append(element("line", { x1: left, x2: left, y1: top_, y2: height - bottom, ...grey }));
  svg.append(element("text", { x: (left + width) / 2, y: height - 8, "text-anchor": "middle" }, axis.name));
  all.forEach((line, number) => {
    const colour = colours[number % colours.length];
    const dash = number < colours.length ? "none" : "6 3";
    const shown = line.points.filter((point) => good.includes(point)).sort((a, b) => place(a) - place(b));
    const path = shown.map((point) => `${x.at(place(point))},${y.at(point.y)}`).join(" ");
    svg.append(element("polyline", { points: path, fill: "none", stroke: colour, "stroke-width": 2, "stroke-dasharray": dash }));
    for (const point of shown) {
      const across = x.at(place(point));
      if (point.error) {
        const low = logY && point.y <= point.error ? height - bottom : y.at(point.y - point.error);
        svg.append(element("line", { x1: across, x2: across, y1: low, y2: y.at(point.y + point.error), stroke: colour }));
      }
      const dot = element("circle", { cx: across, cy: y.at(point.y), r: 5, fill: colour, tabindex: 0, "data-place": point.place });
      dot.append(element("title", {}, words(point)));
      for (const event of ["mouseenter", "focus"]) dot.addEventListener(event, () => hover(point, dot));
      svg.append(dot);
    }
    if (line.name) {
      const entry = document.createElement("span");
      entry.style.color = colour;
      entry.textContent = `${dash === "none" ? "●" : "○"} ${line.name}`;
      key.append(entry, " ");
    }
  });
}

function hover(point, dot) {
  const box = byId("grid-hover");
  box.textContent = words(point);
  box.hidden = false;
  box.style.left = `${(100 * Math.min(Number(dot.getAttribute("cx")) + 12, 0.72 * width)) / width}%`;
  box.style.top = `${(100 * (Number(dot.getAttribute("cy")) + 12)) / height}%`;
}

function start() {
  options(byId("grid-value"), Object.entries(grid.values).map(([name, value]) => [name, value.words]));
  const longest = grid.axes.reduce((best, axis, at) => (axis.labels.length > grid.axes[best].labels.length ? at : best), 0);
  options(byId("grid-x"), grid.axes.map((axis, at) => [at, axis.name]));
  options(byId("grid-by"), [[-1, "nothing"], ...grid.axes.map((axis, at) => [at, axis.name])]);
  byId("grid-x").value = longest;
  const other = grid.axes.findIndex((axis, at) => at !== longest && axis.labels.length > 1);
  byId("grid-by").value = other;
  grid.axes.forEach((axis, number) => {
    const label = document.createElement("label"), select = document.createElement("select");
    label.textContent = `${axis.name} `;
    select.id = `grid-at-${number}`;
    options(select, axis.labels.map((value, at) => [at, String(value)]));
    label.append(select);
    byId("grid-fixed").append(label, " ");
  });
  const free = () => grid.axes.forEach((_, number) => {
    const drawn = [byId("grid-x").value, byId("grid-by").value].includes(String(number));
    byId(`grid-at-${number}`).disabled = drawn;
  });
  const positive = grid.axes[longest].labels.every((label) => typeof label === "number" && label > 0);
  byId("grid-log-x").checked = positive;
  document.querySelectorAll("#explorer select, #explorer input").forEach((control) =>
    control.addEventListener("change", () => { free(); draw(); }));
  free();
  draw();
}

start();
