/* The measured recall over time as dots on a line, with the recall that was asked for beside it. */
(function () {
  "use strict";
  const NS = "http://www.w3.org/2000/svg";
  const HEIGHT = 220, LEFT = 52, RIGHT = 12, TOP = 12, BOTTOM = 22;
  const source = document.getElementById("recall-data"), box = document.getElementById("recall-chart");
  if (!source || !box) return;
  const samples = JSON.parse(source.textContent).samples;

  function make(name, attributes, parent, text) {
    const element = document.createElementNS(NS, name);
    for (const key in attributes) element.setAttribute(key, attributes[key]);
    if (text !== undefined) element.textContent = text;
    parent.append(element);
    return element;
  }
  const percent = (value) => (value * 100).toFixed(value > 0.99 && value < 1 ? 2 : 1).replace(/\.0+$/, "") + " %";
  const day = (seconds, span) =>
    span > 2 * 86400
      ? new Date(seconds * 1000).toLocaleDateString([], { day: "numeric", month: "short" })
      : new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });

  const tip = document.createElement("div");
  tip.className = "chart-tip";
  tip.hidden = true;
  document.body.append(tip);

  function draw() {
    box.querySelectorAll("svg.plot, .legend").forEach((one) => one.remove());
    const width = Math.max(240, box.clientWidth - 32);
    const first = samples[0].at, last = samples[samples.length - 1].at, span = last - first;
    const asked = samples.map((one) => one.asked).filter((one) => one !== null);
    const least = Math.min(...samples.map((one) => one.recall), ...asked);
    // Recall lives near 1: the axis begins a step below the least reading, never at 0 without need.
    const step = least > 0.9 ? 0.02 : least > 0.7 ? 0.1 : 0.2;
    const low = Math.max(0, Math.floor((least - step / 4) / step) * step);
    const x = (at) => (span ? LEFT + ((at - first) / span) * (width - LEFT - RIGHT) : (LEFT + width - RIGHT) / 2);
    const y = (value) => TOP + ((1 - value) / (1 - low)) * (HEIGHT - TOP - BOTTOM);
    const svg = make("svg", { class: "plot", viewBox: "0 0 " + width + " " + HEIGHT, height: HEIGHT, role: "img", tabindex: 0 }, box);
    const told = samples[samples.length - 1];
    svg.setAttribute("aria-label", samples.length + " measurements, the last one " + percent(told.recall) + "; all are in the table below");
    for (let value = 1; value > low - step / 2; value -= step) {
      make("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }, svg);
      make("text", { class: "tick", x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, svg, percent(value));
    }
    const marks = span ? (width < 420 ? 2 : 4) : 1;
    for (let one = 0; one < marks; one += 1) {
      const at = first + (marks > 1 ? (one / (marks - 1)) * span : 0);
      const anchor = marks === 1 ? "middle" : one === 0 ? "start" : one === marks - 1 ? "end" : "middle";
      make("text", { class: "tick", x: x(at), y: HEIGHT - 4, "text-anchor": anchor }, svg, day(at, span));
    }
    let line = "", wanted = "", before = null;
    for (const one of samples) {
      line += (line ? "L" : "M") + x(one.at).toFixed(1) + " " + y(one.recall).toFixed(1);
      if (one.asked !== null) {
        wanted += (before === null ? "M" : "L") + x(one.at).toFixed(1) + " " + y(before === null ? one.asked : before).toFixed(1);
        wanted += "L" + x(one.at).toFixed(1) + " " + y(one.asked).toFixed(1);
      }
      before = one.asked;
    }
    if (asked.length) {
      if (!span) wanted = "M" + LEFT + " " + y(asked[0]) + "H" + (width - RIGHT);
      make("path", { class: "asked", d: wanted }, svg);
    }
    make("path", { class: "line swatch-1", d: line }, svg);
    const dots = samples.map((one) => make("circle", { class: "dot", cx: x(one.at), cy: y(one.recall), r: samples.length > 60 ? 2.5 : 4 }, svg));
    const legend = document.createElement("div");
    legend.className = "legend";
    for (const [kind, words] of [["line swatch-1", "measured"], ...(asked.length ? [["asked", "asked for"]] : [])]) {
      const item = document.createElement("span");
      const mark = make("svg", { viewBox: "0 0 16 10", "aria-hidden": "true" }, item);
      make("path", { class: kind, d: "M0 5h16" }, mark);
      item.append(words);
      legend.append(item);
    }
    box.append(legend);

    let at = samples.length - 1;
    function show(place) {
      at = place;
      const one = samples[place];
      dots.forEach((dot, index) => dot.setAttribute("r", index === place ? 6 : samples.length > 60 ? 2.5 : 4));
      tip.replaceChildren();
      for (const [kind, words] of [["when", new Date(one.at * 1000).toLocaleString()], ["strong", percent(one.recall) + (one.asked !== null ? ", asked " + percent(one.asked) : "")], ["", one.text]]) {
        const row = document.createElement("div");
        row.className = kind;
        row.textContent = words;
        tip.append(row);
      }
      tip.hidden = false;
      const rect = svg.getBoundingClientRect(), left = rect.left + (x(one.at) / width) * rect.width;
      const over = left + 16 + tip.offsetWidth > innerWidth;
      tip.style.left = scrollX + Math.max(4, over ? left - tip.offsetWidth - 12 : left + 12) + "px";
      tip.style.top = scrollY + rect.top + 8 + "px";
    }
    function hide() {
      tip.hidden = true;
      dots.forEach((dot) => dot.setAttribute("r", samples.length > 60 ? 2.5 : 4));
    }
    svg.addEventListener("pointermove", (event) => {
      const rect = svg.getBoundingClientRect(), place = ((event.clientX - rect.left) / rect.width) * width;
      let best = 0;
      samples.forEach((one, index) => { if (Math.abs(x(one.at) - place) < Math.abs(x(samples[best].at) - place)) best = index; });
      show(best);
    });
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!move) return;
      event.preventDefault();
      show(Math.max(0, Math.min(samples.length - 1, tip.hidden ? at : at + move)));
    });
  }
  draw();
  let waiting;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(draw, 120); });
})();
