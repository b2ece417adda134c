/* The search form: which fields belong together, and a vector that fits into an address. */
(function () {
  "use strict";
  const form = document.querySelector("form[data-search]");
  if (!form) return;
  const by = form.elements.by, words = form.querySelector("[data-text-field]");
  const hybrid = form.querySelector("[data-hybrid]"), count = form.querySelector("[data-vector-count]");

  function arrange() {
    const only = by.value === "text";
    words.hidden = !only && !words.dataset.served;
    words.querySelector("[data-text-label]").textContent = only ? "Words" : "Words as well (hybrid)";
    if (hybrid) hybrid.hidden = only;
  }
  by.addEventListener("change", arrange);

  function numbers() {
    const text = form.elements.vector.value.trim();
    try {
      const found = JSON.parse(text.startsWith("[") ? text : "[" + text + "]");
      return Array.isArray(found) && found.length && found.every((one) => typeof one === "number") ? found : null;
    } catch {
      return null;
    }
  }
  form.elements.vector.addEventListener("input", () => {
    const found = numbers(), wanted = Number(count.dataset.dimension);
    count.textContent = found ? found.length.toLocaleString("en-US") + " of " + wanted.toLocaleString("en-US") + " numbers" : wanted.toLocaleString("en-US") + " numbers as JSON.";
    count.classList.toggle("failing", Boolean(found) && found.length !== wanted);
  });

  // What is not asked for stays out of the address; a vector goes in as base64 of float32, a third as long.
  form.addEventListener("formdata", (event) => {
    const data = event.formData, kind = data.get("by");
    const found = kind === "vector" ? numbers() : null;
    if (kind !== "vector" || found) data.delete("vector");
    if (kind !== "id") data.delete("id");
    for (const key of Array.from(data.keys())) if (key !== "include" && data.get(key) === "") data.delete(key);
    if (found) {
      const view = new DataView(new ArrayBuffer(found.length * 4));
      found.forEach((value, place) => view.setFloat32(place * 4, value, true));
      let packed = "";
      new Uint8Array(view.buffer).forEach((byte) => (packed += String.fromCharCode(byte)));
      data.set("vector_b64", btoa(packed));
    }
  });

  const first = document.querySelector("[data-first-page]");
  if (first) {
    const address = new URL(location.href);
    address.searchParams.delete("cursor");
    first.href = address.search;
  }
  arrange();
})();
