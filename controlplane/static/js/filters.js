/* The filter builder: rows of field, operator and value in groups, kept as the filter's JSON in its text
   field, which stays the one truth. A filter that rows cannot show is edited as JSON. */
(function () {
  "use strict";
  const box = document.querySelector("[data-filter-builder]");
  if (!box) return;
  const area = box.querySelector("textarea"), rows = box.querySelector("[data-filter-rows]");
  const mode = box.querySelector("[data-filter-mode]"), help = box.querySelector("[data-filter-help]");
  const known = JSON.parse(document.getElementById("filter-fields").textContent) || [];
  const OPERATORS = [
    ["$eq", "is"], ["$ne", "is not"], ["$in", "is one of"], ["$nin", "is none of"], ["$gt", ">"], ["$gte", "≥"],
    ["$lt", "<"], ["$lte", "≤"], ["exists", "is there"], ["missing", "is not there"],
  ];
  const TYPES = [["text", "Text"], ["number", "Number"], ["boolean", "Yes or no"]];
  let root;

  /* JSON to rows and back. */
  const typeOf = (value) => (typeof value === "number" ? "number" : typeof value === "boolean" ? "boolean" : typeof value === "string" ? "text" : null);

  function condition(field, operator, value) {
    if (operator === "$exists" && typeof value === "boolean") return { field, operator: value ? "exists" : "missing", type: "text", value: "" };
    if (!OPERATORS.some(([key]) => key === operator)) return null;
    const list = operator === "$in" || operator === "$nin";
    const values = list ? value : [value];
    if (!Array.isArray(values) || !values.length) return null;
    const type = typeOf(values[0]);
    if (!type || values.some((one) => typeOf(one) !== type)) return null;
    // Rows part the values of a list at commas.
    if (list && type === "text" && values.some((one) => one.includes(",") || one !== one.trim())) return null;
    return { field, operator, type, value: list ? values.join(", ") : String(value) };
  }

  /* The group that a filter is, or null when rows cannot show it. */
  function parsed(filter) {
    if (typeof filter !== "object" || filter === null || Array.isArray(filter)) return null;
    const keys = Object.keys(filter);
    if (keys.length === 1 && (keys[0] === "$and" || keys[0] === "$or")) {
      const items = Array.isArray(filter[keys[0]]) ? filter[keys[0]].map(parsed) : [null];
      if (items.some((one) => !one)) return null;
      // A group of one condition is the condition.
      return { op: keys[0].slice(1), items: items.map((one) => (one.items.length === 1 && one.items[0].field !== undefined ? one.items[0] : one)) };
    }
    const items = [];
    for (const key of keys) {
      const value = filter[key];
      if (key.startsWith("$")) {
        if (key !== "$and" && key !== "$or") return null;
        const inner = parsed({ [key]: value });
        if (!inner) return null;
        items.push(inner);
      } else if (typeof value === "object" && value !== null && !Array.isArray(value)) {
        for (const operator of Object.keys(value)) {
          const one = condition(key, operator, value[operator]);
          if (!one) return null;
          items.push(one);
        }
      } else {
        const one = condition(key, "$eq", value);
        if (!one) return null;
        items.push(one);
      }
    }
    return { op: "and", items };
  }

  function literal(text, type) {
    if (type === "number") return text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : undefined;
    if (type === "boolean") return text === "true" ? true : text === "false" ? false : undefined;
    return text;
  }
  function conditionOf(row) {
    if (!row.field.trim()) return null;
    const name = row.field.trim();
    if (row.operator === "exists" || row.operator === "missing") return { [name]: { $exists: row.operator === "exists" } };
    if (row.operator === "$in" || row.operator === "$nin") {
      const values = row.value.split(",").map((one) => literal(one.trim(), row.type));
      return values.some((one) => one === undefined) || row.value.trim() === "" ? null : { [name]: { [row.operator]: values } };
    }
    const value = literal(row.value, row.type);
    if (value === undefined || (row.type === "text" && value === "")) return null;
    return { [name]: row.operator === "$eq" ? value : { [row.operator]: value } };
  }
  function filterOf(group) {
    const parts = group.items.map((one) => (one.items ? filterOf(one) : conditionOf(one))).filter(Boolean);
    if (!parts.length) return null;
    if (parts.length === 1) return parts[0];
    if (group.op === "or") return { $or: parts };
    const keys = parts.flatMap((one) => Object.keys(one));
    return keys.some((one) => one.startsWith("$")) || new Set(keys).size < keys.length ? { $and: parts } : Object.assign({}, ...parts);
  }
  function write() {
    const found = filterOf(root);
    area.value = found ? JSON.stringify(found) : "";
    area.dispatchEvent(new Event("input", { bubbles: true }));
  }

  /* Rows as elements. */
  function element(name, attributes, ...children) {
    const made = document.createElement(name);
    for (const key in attributes) {
      if (key in made && key !== "list") made[key] = attributes[key];
      else made.setAttribute(key, attributes[key]);
    }
    made.append(...children);
    return made;
  }
  function icon(name) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("class", "icon");
    svg.setAttribute("width", "16");
    svg.setAttribute("height", "16");
    svg.setAttribute("aria-hidden", "true");
    const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
    use.setAttribute("href", document.body.dataset.sprite + "#" + name);
    svg.append(use);
    return svg;
  }
  function button(symbol, words, act, bare) {
    const made = element("button", { type: "button", className: bare ? "icon-button" : "button small" }, icon(symbol));
    if (bare) made.setAttribute("aria-label", words);
    else made.append(" " + words);
    made.addEventListener("click", act);
    return made;
  }
  function select(options, value, label, change) {
    const made = element("select", { ariaLabel: label });
    for (const [key, words] of options) made.append(element("option", { value: key, textContent: words, selected: key === value }));
    made.addEventListener("change", () => change(made.value));
    return made;
  }
  const suggested = (name) => known.find((one) => one.name === name);
  let lists = 0;

  function drawRow(row, group) {
    const line = element("div", { className: "filter-row" });
    const field = element("input", { type: "text", className: "mono", value: row.field, placeholder: "field", ariaLabel: "Field", autocomplete: "off", spellcheck: false, list: "filter-names" });
    const values = element("div", { className: "filter-value" });
    const drawValue = () => {
      values.replaceChildren();
      if (row.operator === "exists" || row.operator === "missing") return;
      const several = row.operator === "$in" || row.operator === "$nin";
      if (row.type === "boolean" && !several) {
        if (row.value !== "false") row.value = "true";
        values.append(select([["true", "yes"], ["false", "no"]], row.value, "Value", (value) => { row.value = value; write(); }));
      } else {
        const id = "filter-values-" + (lists += 1), hints = (suggested(row.field) || { values: [] }).values;
        const input = element("input", { type: row.type === "number" && !several ? "number" : "text", value: row.value, placeholder: several ? "a, b, c" : "value", ariaLabel: several ? "Values, parted by commas" : "Value", autocomplete: "off", list: id });
        if (input.type === "number") input.step = "any";
        input.addEventListener("input", () => { row.value = input.value; write(); });
        values.append(input);
        if (!several) values.append(element("datalist", { id }, ...hints.map((one) => element("option", { value: String(one) }))));
      }
      const type = select(TYPES, row.type, "Type of the value", (value) => { row.type = value; drawValue(); write(); });
      type.classList.add("filter-type");
      values.append(type);
    };
    field.addEventListener("input", () => {
      row.field = field.value;
      const hint = suggested(row.field.trim());
      if (hint && hint.type !== row.type) row.type = hint.type;
      if (hint) drawValue();
      write();
    });
    const operator = select(OPERATORS, row.operator, "Operator", (value) => { row.operator = value; drawValue(); write(); });
    drawValue();
    line.append(field, operator, values, button("close", "Remove the condition", () => { group.items.splice(group.items.indexOf(row), 1); draw(); write(); }, true));
    return line;
  }

  function drawGroup(group, parent) {
    const made = element("div", { className: "filter-group", role: "group", ariaLabel: "Conditions" });
    if (group.items.length > 1 || parent) {
      const head = element("div", { className: "filter-group-head" }, "Points that fit");
      head.append(select([["and", "all of"], ["or", "any of"]], group.op, "All or any", (value) => { group.op = value; write(); }));
      if (parent) head.append(button("close", "Remove the group", () => { parent.items.splice(parent.items.indexOf(group), 1); draw(); write(); }, true));
      made.append(head);
    }
    for (const one of group.items) made.append(one.items ? drawGroup(one, group) : drawRow(one, group));
    const add = element("div", { className: "filter-add" });
    add.append(button("plus", "Condition", () => { group.items.push({ field: "", operator: "$eq", type: "text", value: "" }); draw(made.dataset.path); focusLast(group); }));
    add.append(button("layers", "Group", () => { group.items.push({ op: group.op === "and" ? "or" : "and", items: [{ field: "", operator: "$eq", type: "text", value: "" }] }); draw(); }));
    made.append(add);
    group.element = made;
    return made;
  }
  function focusLast(group) {
    const all = group.element.querySelectorAll(":scope > .filter-row > input");
    if (all.length) all[all.length - 1].focus();
  }
  function draw() {
    rows.replaceChildren(drawGroup(root, null));
  }

  function asRows(on) {
    rows.hidden = !on;
    area.hidden = help.hidden = on;
    mode.textContent = on ? "As JSON" : "As rows";
    mode.setAttribute("aria-pressed", String(!on));
  }
  function begin() {
    let found = {};
    try {
      if (area.value.trim()) found = JSON.parse(area.value);
    } catch {
      return false;
    }
    root = parsed(found);
    if (root) draw();
    return Boolean(root);
  }
  mode.hidden = false;
  mode.addEventListener("click", () => {
    if (!rows.hidden) asRows(false);
    else if (begin()) asRows(true);
    else {
      help.textContent = "Rows cannot show this filter: it is no valid JSON, or uses what rows do not have. It works as it is.";
    }
  });
  box.append(element("datalist", { id: "filter-names" }, ...known.map((one) => element("option", { value: one.name, textContent: one.type }))));
  asRows(!area.hasAttribute("aria-invalid") && begin());
})();
