// Controls, requests and the chart of `dmft explore`; `chart` comes before.
const byId = (id) => document.getElementById(id);
const wait = 120; // milliseconds without a further change before curves are asked for
const state = {
  page: String(Math.random()).slice(2), number: 0, changes: {}, copies: null,
  curves: null, networks: null, kept: [], asking: null, timer: null,
};

// ------------------------------------------------------------------- asking

// One answer a line; the last one counts, those before tell of progress or are a first look.
async function ask(name, body, signal, progress = () => {}, look = () => {}) {
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, signal };
  const reply = await fetch(name, { ...options, body: JSON.stringify({ page: state.page, ...body }) });
  if (!reply.ok) throw new Error(`the program answered ${reply.status}`);
  const reader = reply.body.getReader(), decoder = new TextDecoder();
  let text = "", last = null;
  for (;;) {
    const { done, value } = await reader.read();
    text += decoder.decode(value ?? new Uint8Array(), { stream: !done });
    const lines = text.split("\n");
    text = lines.pop();
    for (const line of lines) {
      last = JSON.parse(line);
      if ("progress" in last) progress(last);
      else if (last.first_look) look(last);
    }
    if (done) break;
  }
  if (last === null || "progress" in last) throw new Error("the program gave no answer");
  return last;
}

function say(status, error = "") {
  byId("status").textContent = status;
  byId("error").textContent = error;
}

function busy(fraction) {
  byId("progress").value = fraction ?? 0;
  byId("progress").classList.toggle("idle", fraction === null);
}

// Whether a failure is only that of a request that was given up.
function given_up(error) {
  return error.name === "AbortError";
}

async function changed(delay = wait) {
  state.number += 1;
  const number = state.number;
  state.asking?.abort();
  state.asking = new AbortController();
  const { signal } = state.asking;
  clearTimeout(state.timer);
  state.networks = null;
  byId("chart").classList.add("old");
  byId("error").textContent = "";
  try {
    const answer = await ask("settings", { number, changes: state.changes }, signal);
    if (number !== state.number) return;
    if (answer.controls) show_controls(answer.controls);
    state.copies = answer.copies ?? null;
    for (const button of document.querySelectorAll("[data-copy], #overlay")) button.disabled = !answer.copies;
    if (answer.error) {
      busy(null);
      say("", answer.error);
      return;
    }
    state.timer = setTimeout(() => compute("curves", {}, number, signal), delay);
  } catch (error) {
    if (!given_up(error)) { busy(null); say("", `no answer: ${error.message}; is dmft explore still running?`); }
  }
}

async function compute(what, more, number, signal) {
  say(what === "curves" ? "solving" : "simulating");
  busy(0);
  let before = "";
  function show(answer) {
    state[what] = answer;
    const note = answer.status === "done" ? "" : ` Not converged: ${answer.reason}.`;
    say(`${answer.how}; ${answer.seconds.toFixed(1)} s.${note}`);
    if (what === "curves") show_choices(answer);
    draw();
  }
  try {
    const answer = await ask(
      what, { number, changes: state.changes, ...more }, signal,
      ({ progress, stage }) => { busy(progress); say(before + stage); },
      (answer) => {
        if (number !== state.number) return;
        before = `First look: ${answer.how}; ${answer.reason}. The whole solve goes on: `;
        show(answer);
        say(before);
      },
    );
    if (number !== state.number || answer.outdated) return;
    busy(null);
    if (answer.error) { say("", answer.error); return; }
    show(answer);
  } catch (error) {
    if (!given_up(error)) { busy(null); say("", `no answer: ${error.message}; is dmft explore still running?`); }
  }
}

// ----------------------------------------------------------------- controls

// Sliders go from 0 to 1000 over their reach, in the logarithm where it is so.
const places = 1000;

function value_at(control, place) {
  const { low, high, log, zero } = control.reach;
  if (zero && place === 0) return 0;
  const part = place / places;
  const value = log ? low * (high / low) ** part : low + (high - low) * part;
  return control.whole ? Math.round(value) : Number(value.toPrecision(log ? 2 : 3));
}

function place_of(control, value) {
  const { low, high, log } = control.reach;
  if (log && value <= 0) return 0;
  const part = log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
  return Math.round(places * Math.min(1, Math.max(0, part)));
}

// What belonged to a kind goes with it: the new one starts from its defaults.
function set(control, value) {
  if (control.name.endsWith(".kind")) {
    const table = control.name.slice(0, -"kind".length);
    for (const name of Object.keys(state.changes)) if (name.startsWith(table)) delete state.changes[name];
  }
  state.changes[control.name] = value;
  changed();
}

function made(name, attributes) {
  return Object.assign(document.createElement(name), attributes);
}

function select(control) {
  const box = made("select", { id: control.name });
  control.choices.forEach((choice) => box.add(new Option(String(choice), String(choice))));
  box.value = String(control.value);
  box.addEventListener("change", () =>
    set(control, control.choices.find((choice) => String(choice) === box.value)));
  return [box];
}

function slider(control) {
  const bar = made("input", { type: "range", id: control.name, min: 0, max: places, step: 1 });
  const box = made("input", { type: "number", id: `${control.name}-number`, step: "any" });
  bar.value = place_of(control, control.value);
  box.value = control.value;
  box.setAttribute("aria-label", `${control.words}, as a number`);
  bar.addEventListener("input", () => { box.value = value_at(control, Number(bar.value)); set(control, Number(box.value)); });
  box.addEventListener("change", () => {
    if (box.value === "") { box.value = control.value; return; }
    bar.value = place_of(control, Number(box.value));
    set(control, Number(box.value));
  });
  return [bar, box];
}

// Controls that stay are left alone, so that a slider can be dragged on.
function show_controls(controls) {
  const form = byId("controls");
  const shape = JSON.stringify(controls.map(({ name, choices, reach }) => [name, choices, reach]));
  for (const { name, value } of controls) if (!(name in state.changes)) state.changes[name] = value;
  if (form.dataset.shape === shape) return;
  form.dataset.shape = shape;
  const focused = document.activeElement?.id;
  form.replaceChildren();
  state.changes = {};
  for (const control of controls) {
    state.changes[control.name] = control.value;
    const row = made("div", { className: `control${control.name.endsWith(".kind") ? " kind" : ""}` });
    const label = made("label", { htmlFor: control.name, textContent: control.words, title: control.help });
    row.append(label, ...(control.choices.length ? select(control) : slider(control)));
    form.append(row);
  }
  if (focused) byId(focused)?.focus();
}

// -------------------------------------------------------------------- chart

function show_choices(answer) {
  const box = byId("curve"), before = box.value;
  box.replaceChildren(new Option("main errors and losses", ""));
  for (const [name, curve] of Object.entries(answer.curves)) box.add(new Option(curve.words, name));
  box.value = [...box.options].some((option) => option.value === before) ? before : "";
}

function points(answer, curve, log) {
  const shown = (y) => (y === null || (log && y <= curve.floor) ? null : y);
  const when = answer.time_label.startsWith("time") ? "time" : "step";
  return answer.time.map((x, at) => ({
    x, y: shown(curve.mean[at]), error: curve.error?.[at] ?? null, place: at,
    words: curve.mean[at] === null ? "" : [
      chart.value(curve.mean[at], curve.error?.[at] ?? null, "half of the 95 % interval"),
      curve.words, `${when} ${chart.short(x)}`,
    ].join("\n"),
  }));
}

function line(answer, curve, log) {
  return answer.times.map((x, at) => ({
    x, y: log && curve.line[at] <= curve.floor ? null : curve.line[at], error: curve.line_error?.[at] ?? null,
  }));
}

function draw() {
  const answer = state.curves;
  if (answer === null) return;
  const chosen = byId("curve").value;
  const names = chosen ? [chosen] : answer.main;
  const logX = byId("log-x").checked;
  const logY = byId("log-y").checked && names.every((name) => answer.curves[name].positive);
  const series = [];
  for (const kept of state.kept) for (const name of names) {
    const curve = kept.curves[name];
    if (curve && kept.time_label === answer.time_label)
      series.push({ name: series.length ? "" : "kept before", colour: "#999999", points: [], line: line(kept, { ...curve, line_error: null }, logY) });
  }
  names.forEach((name, number) => {
    const curve = answer.curves[name], colour = chart.colours[number % chart.colours.length];
    series.push({ name: curve.words, colour, band: true, points: points(answer, curve, logY), line: line(answer, curve, logY) });
    const network = state.networks?.curves[name];
    if (network)
      series.push({ name: `${network.words}, networks`, colour, line: false, points: points(state.networks, network, logY) });
  });
  const hidden = chart.draw(byId("chart"), byId("hover"), {
    x: { label: answer.time_label, log: logX },
    y: { label: names.length === 1 ? answer.curves[names[0]].words : "error or loss", log: logY },
    series,
  });
  // Time zero has no place on a logarithmic axis, and needs no word.
  const late = logX ? answer.time.filter((time) => time === 0).length : 0;
  const count = hidden - late * series.reduce((sum, each) => sum + (each.points.length ? 1 : 0), 0);
  byId("note").textContent = count > 0 ? `${count} points have no value that these axes can show.` : "";
  chart.key(byId("key"), series);
  byId("chart").classList.remove("old");
}

// ------------------------------------------------------------------- copies

async function copy(kind) {
  const text = state.copies[kind], shown = byId("copy");
  shown.textContent = text;
  shown.hidden = false;
  try {
    await navigator.clipboard.writeText(text);
    byId("copied").textContent = "copied";
  } catch {
    getSelection().selectAllChildren(shown);
    byId("copied").textContent = "selected below, to be copied";
  }
}

function begin() {
  for (const id of ["curve", "log-x", "log-y"]) byId(id).addEventListener("change", draw);
  for (const button of document.querySelectorAll("[data-copy]")) button.addEventListener("click", () => copy(button.dataset.copy));
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("overlay").addEventListener("click", () => {
    if (state.curves === null) return;
    compute("networks", { dimension: Number(byId("dimension").value) }, state.number, state.asking.signal);
  });
  byId("keep").addEventListener("click", () => {
    if (state.curves) state.kept = [...state.kept, state.curves].slice(-4);
  });
  changed(0);
}

begin();
