/* Importing a file: it goes to the target in parts through a resumable upload, then the import is started. A
   stopped or broken upload goes on where it was, after a reload as well. */
(function () {
  "use strict";
  const form = document.querySelector("form[data-upload]");
  const download = document.querySelector("form[data-download]");
  if (download) {
    // Every namespace is asked for by leaving the field out; Parquet has one form of vectors alone.
    download.addEventListener("formdata", (event) => {
      if (!event.formData.get("namespace")) event.formData.delete("namespace");
      if (event.formData.get("format") === "parquet") event.formData.delete("vectors");
    });
  }
  if (!form) return;
  const PART = 4 * 1024 * 1024, TRIES = 5, KEEP = "aindus-upload:" + form.dataset.key;
  const part = (name) => form.querySelector("[data-" + name + "]");
  const input = form.elements.file, go = part("go"), stop = part("stop"), bar = form.querySelector("progress");
  let running = null;

  const token = () => JSON.parse(document.body.getAttribute("hx-headers"))["X-CSRFToken"];
  function bytes(value) {
    const names = ["B", "KiB", "MiB", "GiB", "TiB"];
    let place = 0;
    while (value >= 1024 && place < 4) { value /= 1024; place += 1; }
    return (place && value < 100 ? value.toFixed(1) : Math.round(value)) + " " + names[place];
  }
  const nameOf = (file) => file.name + "/" + file.size + "/" + file.lastModified;
  function remembered() {
    try { return JSON.parse(localStorage.getItem(KEEP)); } catch { return null; }
  }
  const remember = (value) => { try { value ? localStorage.setItem(KEEP, JSON.stringify(value)) : localStorage.removeItem(KEEP); } catch { /* without storage it only cannot go on after a reload */ } };

  class Refused extends Error {
    constructor(status, told) {
      super(told.code === "unknown_address" ? "The release that this target runs does not serve uploads yet. Roll out a newer one." : told.detail || "The target answered with status " + status + ".");
      this.status = status;
      this.told = told;
    }
  }
  async function call(method, address, body, headers) {
    const answer = await fetch(address, { method, body, headers: { Accept: "application/json", "X-CSRFToken": token(), ...headers }, signal: running && running.signal });
    const text = await answer.text();
    let told = {};
    try { told = text ? JSON.parse(text) : {}; } catch { /* a proxy's page */ }
    if (!answer.ok) throw new Refused(answer.status, told);
    return told;
  }
  const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

  function tell(step, done, whole) {
    part("progress").hidden = false;
    part("step").textContent = step;
    part("figures").textContent = whole === undefined ? "" : bytes(done) + " of " + bytes(whole);
    if (whole !== undefined) bar.value = whole ? (100 * done) / whole : 100;
  }
  function failed(words) {
    part("why").textContent = words;
    part("upload-error").hidden = !words;
  }

  /* The upload that this file was being sent by, or a new one: {id, received_bytes}. */
  async function begun(file) {
    const kept = remembered();
    if (kept && kept.file === nameOf(file)) {
      try { return await call("GET", form.dataset.uploads + kept.id); } catch (error) { if (error.status !== 404) throw error; }
    }
    const made = await call("POST", form.dataset.begin, JSON.stringify({ size_bytes: file.size }), { "Content-Type": "application/json" });
    remember({ id: made.id, file: nameOf(file), name: file.name, received: 0 });
    return made;
  }
  async function send(file) {
    let upload = await begun(file), tries = 0;
    while (upload.received_bytes < file.size) {
      tell("Uploading " + file.name, upload.received_bytes, file.size);
      const from = upload.received_bytes;
      try {
        upload = await call("PUT", form.dataset.uploads + upload.id + "?offset=" + from, file.slice(from, from + PART), { "Content-Type": "application/octet-stream" });
        tries = 0;
      } catch (error) {
        if (error.name === "AbortError") throw error;
        const later = !(error instanceof Refused) || error.status === 409 || error.status === 429 || error.status >= 500;
        if (!later || (tries += 1) > TRIES) throw error;
        tell("Waiting for the target, try " + tries + " of " + TRIES, from, file.size);
        await pause(500 * 2 ** tries);
        // How much arrived is the target's to say.
        upload = await call("GET", form.dataset.uploads + upload.id).catch(() => upload);
      }
      const kept = remembered();
      if (kept) remember({ ...kept, received: upload.received_bytes });
    }
    tell("Uploaded " + file.name, file.size, file.size);
    return upload;
  }
  async function start(file, upload) {
    tell("Starting the import", file.size, file.size);
    const body = new FormData();
    body.set("upload", upload.id);
    body.set("format", /\.parquet$/i.test(file.name) ? "parquet" : "ndjson");
    for (const key of ["namespace", "on_error"]) body.set(key, form.elements[key].value);
    const told = await call("POST", form.dataset.start, body);
    remember(null);
    location.href = told.address;
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const file = input.files[0];
    if (!file || running) return;
    failed("");
    part("resume").hidden = true;
    running = new AbortController();
    go.disabled = true;
    stop.hidden = false;
    try {
      await start(file, await send(file));
    } catch (error) {
      if (error.name === "AbortError") tell("Stopped; Import goes on from here", (remembered() || {}).received || 0, file.size);
      else failed(error.message || "The upload broke off.");
    }
    running = null;
    go.disabled = false;
    stop.hidden = true;
  });
  stop.addEventListener("click", () => running && running.abort());
  input.addEventListener("change", () => {
    go.disabled = !input.files.length;
    failed("");
    const kept = remembered();
    part("resume").hidden = !kept || (input.files.length > 0 && kept.file === nameOf(input.files[0]));
  });
  part("forget").addEventListener("click", () => {
    const kept = remembered();
    remember(null);
    part("resume").hidden = true;
    if (kept) call("DELETE", form.dataset.uploads + kept.id).catch(() => {});
  });
  addEventListener("beforeunload", (event) => { if (running && !part("step").textContent.startsWith("Starting")) event.preventDefault(); });
  const kept = remembered();
  if (kept) {
    part("resume-name").textContent = kept.name;
    part("resume-at").textContent = bytes(kept.received || 0);
    part("resume").hidden = false;
  }
})();
