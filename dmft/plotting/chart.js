"use strict";
// A chart of points and lines with error bars or bands in an SVG element; the value under the mouse.
//
// chart.draw(svg, box, { x, y, series }) draws into an SVG element of a view box of `chart.size`:
//   x : { label, log, ticks }, ticks a list of { at, words } or none for round numbers.
//   y : { label, log }.
//   series : list of { name, colour, dash, points, line, band }
//     points : { x, y, error, words, place }, with `error` to either side or null; dots to hover.
//     line : list of { x, y, error }, the dots themselves by default; none for false.
//     band : errors are a band along the line instead of a bar at each dot.
//   box : the element in which `words` appear.
// It returns how many points there are that an axis could not show.
const chart = (() => {
  const size = { width: 760, height: 400 };
  const colours = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];
  const left = 80, bottom = 50, top = 15, right = 24;
  const near = 40; // distance from which a dot is read

  function scale(values, log, start, end) {
    const f = log ? Math.log10 : (value) => value;
    let low = Infinity, high = -Infinity;
    for (const value of values) { low = Math.min(low, f(value)); high = Math.max(high, f(value)); }
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

  const short = (value) => {
    const shown = Number(value.toPrecision(3));
    return shown !== 0 && Math.abs(shown) < 1e-3 ? shown.toExponential() : String(shown);
  };
  const below = (point) => point.y - (point.error ?? 0);
  const above = (point) => point.y + (point.error ?? 0);

  function axes(svg, x, y, spec) {
    const grey = { stroke: "#999", "stroke-width": 1 };
    const { width, height } = size;
    for (const tick of y.ticks) {
      svg.append(element("line", { x1: left, x2: width - right, y1: y.at(tick), y2: y.at(tick), stroke: "#e3e3e3" }));
      svg.append(element("text", { x: left - 8, y: y.at(tick) + 4, "text-anchor": "end" }, short(tick)));
    }
    for (const tick of spec.x.ticks ?? x.ticks.map((at) => ({ at, words: short(at) }))) {
      svg.append(element("text", { x: x.at(tick.at), y: height - bottom + 18, "text-anchor": "middle" }, tick.words));
    }
    svg.append(element("line", { x1: left, x2: width - right, y1: height - bottom, y2: height - bottom, ...grey }));
    svg.append(element("line", { x1: left, x2: left, y1: top, y2: height - bottom, ...grey }));
    svg.append(element("text", { x: (left + width) / 2, y: height - 8, "text-anchor": "middle" }, spec.x.label));
    const middle = (top + height - bottom) / 2;
    const turned = { x: 14, y: middle, "text-anchor": "middle", transform: `rotate(-90 14 ${middle})` };
    svg.append(element("text", turned, spec.y.label));
  }

  function trace(svg, series, line, x, y, low) {
    const path = line.map((point) => `${x.at(point.x)},${y.at(point.y)}`).join(" ");
    if (series.band && line.some((point) => point.error)) {
      const upper = line.map((point) => `${x.at(point.x)},${y.at(above(point))}`);
      const lower = line.map((point) => `${x.at(point.x)},${low(point)}`);
      const points = [...upper, ...lower.reverse()].join(" ");
      svg.append(element("polygon", { points, fill: series.colour, "fill-opacity": 0.18, stroke: "none" }));
    }
    const look = { fill: "none", stroke: series.colour, "stroke-width": 2, "stroke-dasharray": series.dash ?? "none" };
    svg.append(element("polyline", { points: path, ...look }));
  }

  function dots(svg, series, points, x, y, low, hover) {
    const r = series.band ? 2 : 5;
    const look = series.line === false ? { fill: "white", stroke: series.colour, "stroke-width": 1.5 } : { fill: series.colour };
    return points.map((point) => {
      const across = x.at(point.x);
      if (point.error && !series.band) {
        svg.append(element("line", { x1: across, x2: across, y1: low(point), y2: y.at(above(point)), stroke: series.colour }));
      }
      const dot = element("circle", { cx: across, cy: y.at(point.y), r, ...look, tabindex: 0, "data-place": point.place });
      dot.append(element("title", {}, point.words));
      for (const event of ["mouseenter", "focus"]) dot.addEventListener(event, () => hover(point, dot));
      svg.append(dot);
      return { point, dot, across, up: y.at(point.y) };
    });
  }

  // The words of the dot nearest to the mouse, if one is near.
  function follow(svg, box, drawn, hover) {
    svg.onmousemove = (event) => {
      const frame = svg.getBoundingClientRect(), factor = size.width / frame.width;
      const across = (event.clientX - frame.left) * factor, up = (event.clientY - frame.top) * factor;
      const far = (each) => Math.hypot(each.across - across, each.up - up);
      const nearest = drawn.reduce((best, each) => (far(each) < far(best) ? each : best));
      if (far(nearest) < near) hover(nearest.point, nearest.dot);
      else box.hidden = true;
    };
    svg.onmouseleave = () => { box.hidden = true; };
  }

  function draw(svg, box, spec) {
    svg.replaceChildren();
    box.hidden = true;
    svg.onmousemove = svg.onmouseleave = null;
    const shows = (point) => point.y !== null && (!spec.y.log || point.y > 0) && (!spec.x.log || point.x > 0);
    const lists = spec.series.map((series) => ({
      series,
      points: series.points.filter(shows),
      line: series.line === false ? [] : (series.line ?? series.points).filter(shows).sort((a, b) => a.x - b.x),
    }));
    const every = lists.flatMap(({ points, line }) => [...points, ...line]);
    const hidden = lists.reduce((sum, { series, points }) => sum + series.points.length - points.length, 0);
    if (!every.length) return hidden;
    const { width, height } = size;
    // Bands may reach far; the lines decide what is seen on logarithmic axes.
    const ends = (point) => [point.y, above(point), ...(spec.y.log ? [] : [below(point)])];
    const bars = lists.filter(({ series }) => !series.band).flatMap(({ points }) => points.map(below));
    const values = [...every.flatMap(ends), ...bars].filter((value) => !spec.y.log || value > 0);
    const x = scale([...every.map((point) => point.x), ...(spec.x.ticks ?? []).map((tick) => tick.at)]
      .filter((value) => !spec.x.log || value > 0), spec.x.log, left, width - right);
    const y = scale(values, spec.y.log, height - bottom, top);
    const low = (point) => {
      const end = below(point);
      return spec.y.log && end <= 0 ? height - bottom : Math.min(y.at(end), height - bottom);
    };
    axes(svg, x, y, spec);
    const hover = (point, dot) => {
      box.textContent = point.words;
      box.hidden = false;
      const frame = svg.clientWidth, across = ((Number(dot.getAttribute("cx")) + 12) / width) * frame;
      box.style.left = `${Math.max(0, Math.min(across, frame - box.offsetWidth))}px`;
      box.style.top = `${(100 * (Number(dot.getAttribute("cy")) + 12)) / height}%`;
    };
    for (const { series, line } of lists) if (line.length) trace(svg, series, line, x, y, low);
    const drawn = lists.flatMap(({ series, points }) => dots(svg, series, points, x, y, low, hover));
    if (drawn.length) follow(svg, box, drawn, hover);
    return hidden;
  }

  // The names of the series in their colours.
  function key(place, series) {
    place.replaceChildren();
    for (const { name, colour, dash, line } of series.filter((each) => each.name)) {
      const entry = document.createElement("span");
      entry.style.color = colour;
      entry.textContent = `${line === false || (dash ?? "none") !== "none" ? "○" : "●"} ${name}`;
      place.append(entry, " ");
    }
  }

  // A value to its printed digits with its error; `what` says which error it is.
  function value(number, error, what) {
    const shown = Number(number.toPrecision(5));
    return error === null ? `${shown} no error bar` : `${shown} ± ${error.toExponential(1)} (${what})`;
  }

  return { size, colours, draw, key, value, short };
})();
