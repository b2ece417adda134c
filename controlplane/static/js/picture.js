/* The picture of a collection: its points in two dimensions on a canvas, coloured by a field. */
(function () {
  "use strict";
  const box = document.getElementById("picture");
  if (!box || !box.dataset.source) return;
  const part = (name) => box.querySelector("[data-" + name + "]");
  const canvas = box.querySelector("canvas"), tip = part("tip"), context = canvas.getContext("2d");
  const COLOURS = 7, NEAR = 14, MARGIN = 28, ROWS = 100;
  let points = [], groups = [], ramp = null, hidden = new Set(), at = -1;
  let scale = 1, shift = { x: 0, y: 0 };

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const words = (value) => (value === null || value === undefined ? "not there" : Array.isArray(value) ? value.join(", ") : String(value));
  const address = (point) => box.dataset.point + "?" + new URLSearchParams({ id: point.id, namespace: point.namespace });

  async function load() {
    const query = new URLSearchParams({ sample: box.dataset.sample });
    if (box.dataset.color) query.set("color", box.dataset.color);
    if (box.dataset.namespace) query.set("namespace", box.dataset.namespace);
    let answer, told = {};
    try {
      answer = await fetch(box.dataset.source + "/projection?" + query, { headers: { Accept: "application/json" } });
      told = await answer.json();
    } catch (error) {
      told = { detail: "The picture did not come: " + error.message };
    }
    part("loading").hidden = true;
    if (!answer || !answer.ok) {
      if (told.code === "unknown_address") part("unserved").hidden = false;
      else { part("why").textContent = told.detail || "The target answered with an error."; part("failed").hidden = false; }
      return;
    }
    if (told.points.length < 3) { part("none").hidden = false; return; }
    points = told.points;
    sort();
    part("figure").hidden = part("table").hidden = false;
    part("words").textContent = sentence(told);
    legend();
    table();
    size();
  }

  function sentence(told) {
    const shares = told.explained.map((one) => (one * 100).toFixed(one < 0.1 ? 1 : 0) + " %");
    const all = told.sampled === told.total;
    return (all ? "All " : told.sampled.toLocaleString("en-US") + " of ") + told.total.toLocaleString("en-US") + (told.total === 1 ? " point" : " points") +
      ", seen along the two directions in which they differ most: " + shares[0] + " and " + shares[1] + " of how they differ. Near here is not always near in all dimensions.";
  }

  /* The values' colours: one each for the most frequent, a scale for many numbers. */
  function sort() {
    if (!box.dataset.color) return;
    const values = points.map((one) => one.value).filter((one) => one !== null && one !== undefined);
    const numbers = values.length && values.every((one) => typeof one === "number");
    const counts = new Map();
    for (const one of points) counts.set(words(one.value), (counts.get(words(one.value)) || 0) + 1);
    if (numbers && new Set(values).size > COLOURS) {
      ramp = { low: Math.min(...values), high: Math.max(...values) };
      return;
    }
    const absent = points.some((one) => one.value === null || one.value === undefined);
    const names = Array.from(counts.keys()).filter((one) => !(absent && one === "not there")).sort((a, b) => counts.get(b) - counts.get(a));
    const shown = names.slice(0, COLOURS);
    if (numbers) shown.sort((a, b) => Number(a) - Number(b));
    groups = shown.map((name, index) => ({ name, colour: "dot-" + index, count: counts.get(name) }));
    const rest = points.length - groups.reduce((sum, one) => sum + one.count, 0);
    if (rest) groups.push({ name: names.length > COLOURS ? "others" : "not there", colour: "dot-none", count: rest });
    const index = new Map(groups.map((one, place) => [one.name, place]));
    for (const one of points) one.group = index.get(words(one.value)) ?? groups.length - 1;
  }

  const NS = "http://www.w3.org/2000/svg";
  function svg(name, attributes, parent) {
    const made = document.createElementNS(NS, name);
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    if (parent) parent.append(made);
    return made;
  }
  function legend() {
    const list = part("legend");
    list.replaceChildren();
    if (ramp) {
      const bar = svg("svg", { class: "ramp", viewBox: "0 0 160 10", "aria-hidden": "true" });
      const gradient = svg("linearGradient", { id: "ramp" }, svg("defs", {}, bar));
      for (let stop = 0; stop < 3; stop += 1) svg("stop", { offset: stop / 2, class: "stop-" + stop }, gradient);
      svg("rect", { width: 160, height: 10, rx: 3, fill: "url(#ramp)" }, bar);
      const line = document.createElement("span");
      line.append(box.dataset.color + ": " + ramp.low.toLocaleString("en-US"), bar, ramp.high.toLocaleString("en-US"));
      list.append(line);
      return;
    }
    if (groups.length) list.append(Object.assign(document.createElement("span"), { className: "strong", textContent: box.dataset.color }));
    groups.forEach((one, place) => {
      const item = document.createElement("button");
      item.type = "button";
      item.setAttribute("aria-pressed", "true");
      item.title = "Hide or show";
      svg("circle", { class: "fill-" + one.colour, cx: 5, cy: 5, r: 5 }, item.appendChild(svg("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" })));
      item.append(one.name + " " + one.count.toLocaleString("en-US"));
      item.addEventListener("click", () => {
        if (!hidden.delete(place)) hidden.add(place);
        item.setAttribute("aria-pressed", String(!hidden.has(place)));
        draw();
      });
      list.append(item);
    });
  }

  /* Drawing. The points are fitted into the frame at one scale for both directions. */
  let fit = { scale: 1, x: 0, y: 0 };
  function size() {
    const ratio = devicePixelRatio || 1, rect = canvas.getBoundingClientRect();
    canvas.width = Math.round(rect.width * ratio);
    canvas.height = Math.round(rect.height * ratio);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const xs = points.map((one) => one.x), ys = points.map((one) => one.y);
    const left = Math.min(...xs), right = Math.max(...xs), low = Math.min(...ys), high = Math.max(...ys);
    const factor = Math.min((rect.width - 2 * MARGIN) / (right - left || 1), (rect.height - 2 * MARGIN) / (high - low || 1));
    fit = { scale: factor, x: (left + right) / 2, y: (low + high) / 2, width: rect.width, height: rect.height };
    draw();
  }
  const place = (point) => ({
    x: fit.width / 2 + (point.x - fit.x) * fit.scale * scale + shift.x,
    y: fit.height / 2 - (point.y - fit.y) * fit.scale * scale + shift.y,
  });
  function between(share) {
    const [from, to, part] = share < 0.5 ? ["ramp-0", "ramp-1", share * 2] : ["ramp-1", "ramp-2", share * 2 - 1];
    return "color-mix(in srgb, " + colour(to) + " " + Math.round(part * 100) + "%, " + colour(from) + ")";
  }
  function tints() {
    if (ramp) {
      const steps = Array.from({ length: 33 }, (_, step) => between(step / 32));
      return (point) => (typeof point.value === "number" ? steps[Math.round((32 * (point.value - ramp.low)) / (ramp.high - ramp.low || 1))] : colour("dot-none"));
    }
    const each = groups.length ? groups.map((one) => colour(one.colour)) : [colour("dot-0")];
    return (point) => each[point.group ?? 0];
  }
  const seen = (point) => !hidden.has(point.group);
  function draw() {
    context.clearRect(0, 0, fit.width, fit.height);
    const tint = tints(), radius = points.length > 1500 ? 3 : 4, edge = colour("page");
    context.lineWidth = 1;
    for (const point of points) {
      if (!seen(point)) continue;
      const { x, y } = place(point);
      if (x < -8 || y < -8 || x > fit.width + 8 || y > fit.height + 8) continue;
      context.globalAlpha = 0.82;
      context.fillStyle = tint(point);
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.fill();
      context.globalAlpha = 1;
      context.strokeStyle = edge;
      context.stroke();
    }
    if (at >= 0) {
      const { x, y } = place(points[at]);
      context.fillStyle = tint(points[at]);
      context.strokeStyle = colour("text");
      context.lineWidth = 2;
      context.beginPath();
      context.arc(x, y, 7, 0, 2 * Math.PI);
      context.fill();
      context.stroke();
    }
  }

  /* Pointing at one. */
  function nearest(x, y, most) {
    let best = -1, least = most * most;
    points.forEach((point, index) => {
      if (!seen(point)) return;
      const found = place(point), far = (found.x - x) ** 2 + (found.y - y) ** 2;
      if (far < least) { best = index; least = far; }
    });
    return best;
  }
  const contents = new Map();
  let asked;
  async function content(point) {
    const key = point.namespace + "\n" + point.id;
    if (!contents.has(key)) {
      const token = JSON.parse(document.body.getAttribute("hx-headers"))["X-CSRFToken"];
      contents.set(key, fetch(box.dataset.source + "/fetch", {
        method: "POST", headers: { "Content-Type": "application/json", "X-CSRFToken": token },
        body: JSON.stringify({ ids: [point.id], namespace: point.namespace, include: ["content"] }),
      }).then((answer) => (answer.ok ? answer.json() : { points: [] })).then((told) => (told.points[0] || {}).content || "").catch(() => ""));
    }
    return contents.get(key);
  }
  function line(className, text) {
    const made = document.createElement("div");
    made.className = className;
    made.textContent = text;
    return made;
  }
  function show(index) {
    if (index === at && !tip.hidden === index >= 0) return;
    at = index;
    canvas.classList.toggle("over", index >= 0);
    draw();
    tip.hidden = index < 0;
    if (index < 0) return;
    const point = points[index];
    tip.replaceChildren(line("strong", point.id));
    if (box.dataset.color) tip.append(line("", box.dataset.color + ": " + words(point.value)));
    if (point.namespace) tip.append(line("when", "namespace " + point.namespace));
    stand(point);
    clearTimeout(asked);
    asked = setTimeout(async () => {
      const text = await content(point);
      if (at !== index || !text) return;
      tip.append(line("clamp when", text));
      stand(point);
    }, 90);
  }
  function stand(point) {
    const { x, y } = place(point);
    const over = x + 14 + tip.offsetWidth > fit.width;
    tip.style.left = Math.max(4, over ? x - tip.offsetWidth - 14 : x + 14) + "px";
    tip.style.top = Math.max(4, Math.min(y - 12, fit.height - tip.offsetHeight - 4)) + "px";
  }

  let grip = null;
  const inside = (event) => { const rect = canvas.getBoundingClientRect(); return { x: event.clientX - rect.left, y: event.clientY - rect.top }; };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    grip = { ...inside(event), shift: { ...shift }, moved: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const here = inside(event);
    if (grip && Math.hypot(here.x - grip.x, here.y - grip.y) > 4) {
      grip.moved = true;
      canvas.classList.add("moving");
      shift = { x: grip.shift.x + here.x - grip.x, y: grip.shift.y + here.y - grip.y };
      show(-1);
      draw();
    } else if (!grip) show(nearest(here.x, here.y, NEAR));
  });
  canvas.addEventListener("pointerup", (event) => {
    const moved = grip && grip.moved, here = inside(event);
    grip = null;
    canvas.classList.remove("moving");
    const found = moved ? -1 : nearest(here.x, here.y, NEAR);
    if (found < 0) return;
    // A finger cannot hover: the first tap shows, the second opens.
    if (event.pointerType !== "mouse" && at !== found) show(found);
    else location.href = address(points[found]);
  });
  canvas.addEventListener("pointerleave", () => { if (!grip) show(-1); });
  canvas.addEventListener("blur", () => show(-1));
  canvas.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && at >= 0) { location.href = address(points[at]); return; }
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    if (at < 0) { show(nearest(fit.width / 2, fit.height / 2, 1e6)); return; }
    const from = place(points[at]);
    let best = -1, least = Infinity;
    points.forEach((point, index) => {
      if (index === at || !seen(point)) return;
      const to = place(point), along = (to.x - from.x) * step[0] + (to.y - from.y) * step[1];
      const across = Math.abs((to.x - from.x) * step[1] + (to.y - from.y) * step[0]);
      // Straight ahead counts more than near: two steps aside are as far as one ahead.
      if (along > 0.5 && along + 2 * across < least) { best = index; least = along + 2 * across; }
    });
    if (best >= 0) show(best);
  });
  box.addEventListener("click", (event) => {
    const zoom = event.target.closest("[data-zoom]");
    if (zoom) {
      const factor = Number(zoom.dataset.zoom);
      if (factor) {
        const next = Math.max(0.5, Math.min(40, scale * factor));
        shift = { x: (shift.x * next) / scale, y: (shift.y * next) / scale };
        scale = next;
      } else { scale = 1; shift = { x: 0, y: 0 }; }
      show(-1);
      draw();
    }
    if (event.target.closest("[data-more-rows]")) table();
  });

  /* The same as a table, a part at a time. */
  function table() {
    const body = box.querySelector("tbody"), from = body.rows.length;
    const name = part("color-name");
    name.hidden = !box.dataset.color;
    name.textContent = box.dataset.color || "";
    for (const point of points.slice(from, from + ROWS)) {
      const row = body.insertRow(), head = document.createElement("th"), link = document.createElement("a");
      head.scope = "row";
      link.href = address(point);
      link.textContent = point.id;
      head.append(link);
      row.append(head);
      row.insertCell().textContent = point.namespace || "default";
      if (box.dataset.color) row.insertCell().textContent = words(point.value);
      for (const axis of ["x", "y"]) {
        const cell = row.insertCell();
        cell.className = "number";
        cell.textContent = point[axis].toFixed(4);
      }
    }
    part("more-rows").hidden = body.rows.length >= points.length;
  }

  new ResizeObserver(() => { if (points.length) size(); }).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (points.length) draw(); });
  load();
})();
