/* Sends a file of costs as it is, with progress, and goes to the import that it started. */
(function () {
  "use strict";
  const form = document.querySelector("form[data-cost-upload]");
  if (!form) return;
  const part = (name) => form.querySelector("[data-" + name + "]");
  const token = () => JSON.parse(document.body.getAttribute("hx-headers"))["X-CSRFToken"];
  const megabytes = (value) => (value / 2 ** 20).toLocaleString("en-US", { maximumFractionDigits: 1 }) + " MiB";

  function failed(words) {
    part("why").textContent = words;
    part("why").hidden = !words;
    form.querySelector("button").disabled = false;
    part("progress").hidden = true;
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const file = form.elements.file.files[0];
    if (!file) return;
    failed("");
    form.querySelector("button").disabled = true;
    part("progress").hidden = false;
    const query = new URLSearchParams({ name: file.name.slice(-200), on_error: form.elements.on_error.value });
    if (form.elements.source.value.trim()) query.set("source", form.elements.source.value.trim());
    // fetch tells nothing of what it has sent.
    const request = new XMLHttpRequest();
    request.open("POST", "/api/v1/costs/imports?" + query);
    request.setRequestHeader("X-CSRFToken", token());
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.addEventListener("progress", (sent) => {
      form.querySelector("progress").value = (100 * sent.loaded) / (sent.total || 1);
      part("figures").textContent = megabytes(sent.loaded) + " of " + megabytes(file.size) + " sent";
    });
    request.addEventListener("error", () => failed("The file did not get through. Send it again."));
    request.addEventListener("load", () => {
      let told = {};
      try { told = JSON.parse(request.responseText); } catch { /* a proxy's page */ }
      if (request.status === 202) location.assign("/costs/imports/" + told.input.import + "/");
      else failed(told.detail || "The server answered with status " + request.status + ".");
    });
    request.send(file);
  });
})();
