"use strict";
// Lines over one axis of the grid, a colour for each label of another; the rest is chosen.
const grid = JSON.parse(document.getElementById("grid-data").textContent);
const byId = (id) => document.getElementById(id);

// A label of an axis, numbers to six digits.
function shown(label) {
  return typeof label === "number" ? String(Number(label.toPrecision(6))) : label;
}

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
    name: group === null ? "" : `${grid.axes[by].name} = ${shown(grid.axes[by].labels[group])}`,
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
  const where = grid.axes.map((axis, number) => `${axis.name} = ${shown(axis.labels[point.position[number]])}`);
  const value = chart.value(point.y, point.error, "standard error");
  const reason = grid.reason[point.place], seconds = grid.seconds?.[point.place] ?? null;
  const status = grid.status[point.place] + (reason ? `: ${reason}` : "");
  return [value, ...where, status, ...(seconds === null ? [] : [`took ${chart.short(seconds)} s`])].join("\n");
}

// Some eight labels of an axis, numbers where they belong and text at its number.
function ticks(axis, numeric) {
  const step = Math.ceil(axis.labels.length / 8);
  const all = axis.labels.map((label, at) => ({ at: numeric ? label : at, words: numeric ? chart.short(label) : label }));
  return all.filter((_, at) => at % step === 0);
}

function draw() {
  const note = byId("grid-note"), values = grid.values[byId("grid-value").value];
  const axis = grid.axes[Number(byId("grid-x").value)];
  const numeric = axis.labels.every((label) => typeof label === "number");
  const logX = byId("grid-log-x").checked && numeric && axis.labels.every((label) => label > 0);
  const series = lines().map((line, number) => ({
    name: line.name,
    colour: chart.colours[number % chart.colours.length],
    dash: number < chart.colours.length ? "none" : "6 3",
    points: line.points.map((point) => ({
      x: numeric ? point.x : point.at, y: point.y, error: point.error, place: point.place,
      words: point.y === null ? "" : words(point),
    })),
  }));
  const left_out = chart.draw(byId("grid-chart"), byId("grid-hover"), {
    x: { label: axis.name, log: logX, ticks: ticks(axis, numeric) },
    y: { label: values.words, log: byId("grid-log-y").checked },
    series,
  });
  const every = series.reduce((sum, line) => sum + line.points.length, 0);
  const bars = values.error ? "Bars: one standard error to either side. " : "";
  note.textContent = bars + (left_out ? `${left_out} of ${every} points have no value that this axis can show.` : "");
  chart.key(byId("grid-key"), series);
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
    const label = document.createElement("label"), place = document.createElement("output");
    const slider = Object.assign(document.createElement("input"), {
      id: `grid-at-${number}`, type: "range", min: 0, max: axis.labels.length - 1, step: 1, value: 0,
    });
    const say = () => { place.textContent = ` ${shown(axis.labels[Number(slider.value)])}`; };
    slider.addEventListener("input", () => { say(); draw(); });
    say();
    label.append(`${axis.name} `, slider, place);
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
