/* Small multiples on one time axis: lines as SVG, a shared crosshair, marks for rollouts and health. */
(function () {
  "use strict";
  const NS = "http://www.w3.org/2000/svg";
  const HEIGHT = 168, LEFT = 52, RIGHT = 8, TOP = 12, BOTTOM = 20;

  function make(name, attributes, parent) {
    const element = document.createElementNS(NS, name);
    for (const key in attributes) element.setAttribute(key, attributes[key]);
    if (parent) parent.append(element);
    return element;
  }
  function html(name, className, text, parent) {
    const element = document.createElement(name);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    if (parent) parent.append(element);
    return element;
  }

  const group = (value, digits) => value.toLocaleString("en-US", { maximumFractionDigits: digits });
  const units = {
    rate: (value) => group(value, value < 10 ? 2 : value < 100 ? 1 : 0) + "/s",
    ms: (value) => (value >= 1000 ? group(value / 1000, 2) + " s" : group(value, value < 10 ? 1 : 0) + " ms"),
    money: (value) => (value >= 1e6 ? group(value / 1e6, 2) + " M" : value >= 1e4 ? group(value / 1e3, 1) + " k" : group(value, value < 10 ? 2 : 0)),
    count: (value) => (value >= 1e6 ? group(value / 1e6, 2) + " M" : value >= 1e4 ? group(value / 1e3, 1) + " k" : group(value, 0)),
    bytes: (value) => {
      const names = ["B", "KiB", "MiB", "GiB", "TiB"];
      let place = 0;
      while (value >= 1024 && place < 4) { value /= 1024; place += 1; }
      return group(value, value < 100 && place ? 1 : 0) + " " + names[place];
    },
  };

  function ticksOf(top, unit) {
    const base = unit === "bytes" ? 1024 ** Math.max(0, Math.floor(Math.log(top || 1) / Math.log(1024))) : 10 ** Math.floor(Math.log10(top || 1));
    const step = [0.1, 0.2, 0.25, 0.5, 1, 2, 2.5, 5, 10, 20, 25, 50, 100, 128, 200, 250, 256, 500].map((one) => one * base).find((one) => top / one <= 4) || top;
    const ticks = [];
    for (let value = 0; value < top + step * 0.999; value += step) ticks.push(value);
    return ticks;
  }

  function clock(seconds, span) {
    const at = new Date(seconds * 1000);
    if (span > 3 * 86400) return at.toLocaleDateString([], { day: "numeric", month: "short" });
    return at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
  }

  let data, plots = [];
  const tip = html("div", "chart-tip");
  tip.hidden = true;
  document.body.append(tip);

  function path(values, x, y) {
    let text = "", open = false;
    values.forEach((value, place) => {
      if (value === null) { open = false; return; }
      text += (open ? "L" : "M") + x(place).toFixed(1) + " " + y(value).toFixed(1);
      // A reading between two gaps has no line to be on: it is drawn as a dot.
      if (!open && (values[place + 1] ?? null) === null) text += "h0.01";
      open = true;
    });
    return text;
  }
  function area(values, x, y) {
    let text = "", start = -1;
    for (let place = 0; place <= values.length; place += 1) {
      const known = place < values.length && values[place] !== null;
      if (known && start < 0) start = place;
      if (!known && start >= 0) {
        text += "M" + x(start).toFixed(1) + " " + y(0);
        for (let one = start; one < place; one += 1) text += "L" + x(one).toFixed(1) + " " + y(values[one]).toFixed(1);
        text += "L" + x(place - 1).toFixed(1) + " " + y(0) + "Z";
        start = -1;
      }
    }
    return text;
  }

  /* Each series on top of those before it: [[bottoms, tops]]; what is not known adds nothing. */
  function stacked(series) {
    const under = series[0].values.map(() => 0);
    return series.map((one) => {
      const bottoms = under.slice();
      one.values.forEach((value, place) => { under[place] += Math.max(0, value || 0); });
      return [bottoms, under.slice()];
    });
  }
  function band(bottoms, tops, x, y) {
    const there = tops.map((top, place) => x(place).toFixed(1) + " " + y(top).toFixed(1));
    const back = bottoms.map((bottom, place) => x(place).toFixed(1) + " " + y(bottom).toFixed(1)).reverse();
    return "M" + there.concat(back).join("L") + "Z";
  }

  function drawOne(chart, holder) {
    const box = html("figure", "chart", undefined, holder);
    const head = html("figcaption", "chart-head", undefined, box);
    html("h3", "", chart.title, head);
    const now = html("span", "chart-now", "", head);
    const known = chart.series.flatMap((one) => one.values.filter((value) => value !== null));
    if (!known.length) {
      html("div", "chart-empty", "Nothing measured in this time", box);
      return;
    }
    const format = chart.unit === "money" ? (value) => units.money(value) + " " + chart.currency : units[chart.unit];
    const bands = chart.stacked ? stacked(chart.series) : null;
    const width = Math.max(200, box.clientWidth - 32);
    const count = data.times.length, span = data.times[count - 1] - data.times[0] || 1;
    const highest = bands ? Math.max(...bands[bands.length - 1][1]) : Math.max(...known);
    const ticks = ticksOf(highest || 1, chart.unit);
    const top = ticks[ticks.length - 1];
    const x = (place) => LEFT + (place / Math.max(1, count - 1)) * (width - LEFT - RIGHT);
    const y = (value) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - TOP - BOTTOM);
    const svg = make("svg", { class: "plot", viewBox: "0 0 " + width + " " + HEIGHT, role: "img", tabindex: 0 }, box);
    for (const value of ticks) {
      make("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }, svg);
      make("text", { class: "tick", x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, svg).textContent = bands ? units.money(value) : format(value);
    }
    const marks = width < 420 ? 3 : 5;
    for (let one = 0; one < marks; one += 1) {
      const place = Math.round((one / (marks - 1)) * (count - 1));
      const anchor = one === 0 ? "start" : one === marks - 1 ? "end" : "middle";
      make("text", { class: "tick", x: x(place), y: HEIGHT - 4, "text-anchor": anchor }, svg).textContent = clock(data.times[place], span);
    }
    for (const note of data.annotations) {
      // The newest step is still open: what happened in it stands at its start.
      const place = Math.min(count - 1, ((note.at - data.times[0]) / span) * (count - 1));
      if (place < 0) continue;
      const mark = make("g", {}, svg);
      make("line", { class: "annotation", x1: x(place), x2: x(place), y1: TOP, y2: HEIGHT - BOTTOM }, mark);
      make("path", { class: "annotation-mark", d: "M" + (x(place) - 4) + " " + (TOP - 6) + "h8l-4 6z" }, mark);
      make("title", {}, mark).textContent = note.text + ", " + new Date(note.at * 1000).toLocaleString();
    }
    const lines = chart.series.map((one, index) => {
      const swatch = "swatch-" + ((index % 5) + 1);
      if (bands) make("path", { class: "band " + swatch, d: band(...bands[index], x, y) }, svg);
      else if (chart.series.length === 1) make("path", { class: "area " + swatch, d: area(one.values, x, y) }, svg);
      make("path", { class: "line " + swatch, d: path(bands ? bands[index][1] : one.values, x, y) }, svg);
      // Of a stack the legend tells the whole span, of lines what is now.
      const last = bands ? one.values.reduce((sum, value) => sum + (value || 0), 0) : one.values.filter((value) => value !== null).pop();
      return { name: one.name, values: one.values, heights: bands ? bands[index][1] : one.values, swatch, last };
    });
    now.textContent = lines.length === 1 && lines[0].last !== undefined ? format(lines[0].last) : "";
    svg.setAttribute("aria-label", chart.title + ": " + lines.map((one) => one.name + " " + (one.last === undefined ? "not measured" : format(one.last))).join(", "));
    const cross = make("line", { class: "cross", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" }, svg);
    const dots = lines.map((one) => make("circle", { class: one.swatch, r: 3, visibility: "hidden" }, svg));
    if (lines.length > 1) {
      const legend = html("div", "legend", undefined, box);
      for (const one of lines) {
        const item = html("span", "", undefined, legend);
        const mark = make("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" }, item);
        make("circle", { class: one.swatch, cx: 5, cy: 5, r: 4 }, mark);
        item.append(one.name + (one.last === undefined ? "" : " " + format(one.last)));
      }
    }
    const plot = {
      svg, lines, format,
      place: (event) => {
        const rect = svg.getBoundingClientRect();
        const inside = ((event.clientX - rect.left) / rect.width) * width;
        return Math.max(0, Math.min(count - 1, Math.round(((inside - LEFT) / (width - LEFT - RIGHT)) * (count - 1))));
      },
      show: (place) => {
        cross.setAttribute("x1", x(place));
        cross.setAttribute("x2", x(place));
        cross.setAttribute("visibility", "visible");
        lines.forEach((one, index) => {
          const value = one.values[place];
          dots[index].setAttribute("visibility", value === null ? "hidden" : "visible");
          if (value !== null) { dots[index].setAttribute("cx", x(place)); dots[index].setAttribute("cy", y(one.heights[place])); }
        });
        return svg.getBoundingClientRect().left + (x(place) / width) * svg.getBoundingClientRect().width;
      },
      hide: () => [cross, ...dots].forEach((one) => one.setAttribute("visibility", "hidden")),
    };
    const point = (place) => {
      plots.forEach((one) => one.show(place));
      tip.replaceChildren();
      html("div", "when", new Date(data.times[place] * 1000).toLocaleString(), tip);
      for (const one of lines) {
        const row = html("div", "", undefined, tip);
        const mark = make("svg", { viewBox: "0 0 10 10" }, row);
        make("circle", { class: one.swatch, cx: 5, cy: 5, r: 4 }, mark);
        row.append(one.name + " " + (one.values[place] === null ? "not measured" : format(one.values[place])));
      }
      if (bands && lines.length > 1) html("div", "", "Together " + format(bands[bands.length - 1][1][place]), tip);
      tip.hidden = false;
      const left = plot.show(place), rect = svg.getBoundingClientRect();
      const over = left + 12 + tip.offsetWidth > innerWidth;
      tip.style.left = scrollX + (over ? left - tip.offsetWidth - 12 : left + 12) + "px";
      tip.style.top = scrollY + rect.top + 8 + "px";
      plot.at = place;
    };
    const leave = () => { plots.forEach((one) => one.hide()); tip.hidden = true; };
    svg.addEventListener("pointermove", (event) => point(plot.place(event)));
    svg.addEventListener("pointerleave", leave);
    svg.addEventListener("blur", leave);
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      point(Math.max(0, Math.min(count - 1, (plot.at === undefined ? count - 1 : plot.at) + step)));
    });
    plots.push(plot);
  }

  function draw() {
    const source = document.getElementById("chart-data"), holder = document.getElementById("charts");
    if (!source || !holder) return;
    data = JSON.parse(source.textContent);
    plots = [];
    tip.hidden = true;
    holder.replaceChildren();
    data.charts.forEach((chart) => drawOne(chart, holder));
  }

  draw();
  document.addEventListener("page:changed", draw);
  let waiting;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(draw, 120); });
})();
