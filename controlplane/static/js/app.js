/* Keyboard, times, copying, menus, dialogs, the palette and toasts. */
(function () {
  "use strict";
  const $ = (selector, from) => (from || document).querySelector(selector);
  const all = (selector, from) => Array.from((from || document).querySelectorAll(selector));

  /* Times: relative text kept current, exact local and UTC time on hover. */
  function relative(at) {
    const seconds = (Date.now() - at) / 1000, size = Math.abs(seconds);
    if (size < 5) return "just now";
    for (const [limit, divisor, unit] of [[60, 1, "s"], [3600, 60, "min"], [172800, 3600, "h"], [7776000, 86400, "days"]]) {
      if (size < limit) {
        const text = Math.floor(size / divisor) + " " + unit;
        return seconds > 0 ? text + " ago" : "in " + text;
      }
    }
    return null;
  }
  function duration(seconds) {
    if (seconds < 59.95) return seconds.toFixed(1) + " s";
    const whole = Math.round(seconds);
    if (whole < 3600) return Math.floor(whole / 60) + " min " + (whole % 60) + " s";
    return Math.floor(whole / 3600) + " h " + Math.floor((whole % 3600) / 60) + " min";
  }
  const local = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  function times() {
    for (const time of all("time[datetime]")) {
      const at = new Date(time.dateTime);
      if (time.dataset.clock !== undefined) {
        const text = at.toLocaleTimeString([], { hour12: false });
        if (time.textContent !== text) time.textContent = text;
      } else {
        const text = relative(at.getTime());
        if (text && time.textContent !== text) time.textContent = text;
      }
      const title = local.format(at) + " local\n" + at.toISOString().replace("T", " ").slice(0, 19) + " UTC";
      if (time.title !== title) time.title = title;
    }
    for (const since of all("[data-since]")) {
      since.textContent = duration(Math.max(0, (Date.now() - new Date(since.dataset.since)) / 1000));
    }
  }
  times();
  setInterval(times, 1000);
  document.addEventListener("page:changed", times);
  document.addEventListener("htmx:afterSwap", times);

  /* Copying. */
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy], [data-copy-from]");
    if (!button) return;
    const text = button.dataset.copy || $(button.dataset.copyFrom).textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      (button.closest("dialog") || document.body).append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    button.classList.add("copied");
    toast("Copied", "ok");
    setTimeout(() => button.classList.remove("copied"), 1200);
  });

  /* Toasts: messages of the server and of the page itself. */
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
  function toast(text, tone) {
    const box = document.createElement("div");
    box.className = "toast";
    const mark = icon(tone === "failing" ? "cross" : "check");
    mark.classList.add(tone || "ok");
    const words = document.createElement("span");
    words.className = "grow";
    words.textContent = text;
    box.append(mark, words);
    $("#toasts").append(box);
    setTimeout(() => box.remove(), tone === "failing" ? 12000 : 2500);
  }
  all(".toast[data-fades]").forEach((one) => setTimeout(() => one.remove(), 6000));
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-dismiss]")) event.target.closest(".toast").remove();
  });
  document.addEventListener("htmx:responseError", (event) => {
    const xhr = event.detail.xhr;
    if (event.detail.elt.hasAttribute("data-poll")) {
      if (xhr.status === 403 || xhr.status === 401) location.reload();
      return;
    }
    const words = new DOMParser().parseFromString(xhr.responseText, "text/html").querySelector("[data-detail]");
    toast(words ? words.textContent.trim() : "The server answered with an error (" + xhr.status + ").", "failing");
  });

  /* Menus close on a click elsewhere and on Escape. */
  document.addEventListener("click", (event) => {
    all("details.menu[open]").forEach((menu) => {
      if (!menu.contains(event.target) || event.target.closest(".menu-list a, .menu-list button")) menu.open = false;
    });
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    all("details.menu[open]").forEach((menu) => {
      menu.open = false;
      $("summary", menu).focus();
    });
    drawer(false);
  });

  /* The tab that one is on is in sight where the tabs are wider than the screen. */
  all(".tabs [aria-current]").forEach((tab) => {
    tab.parentElement.scrollLeft = tab.offsetLeft - (tab.parentElement.clientWidth - tab.offsetWidth) / 2;
  });

  /* The navigation as a drawer on small screens. */
  function drawer(open) {
    const nav = $("#nav");
    if (!nav || nav.classList.contains("open") === open) return;
    nav.classList.toggle("open", open);
    $("[data-drawer]").setAttribute("aria-expanded", String(open));
    $(".nav-shade").hidden = !open;
    (open ? $("a", nav) : $("[data-drawer]")).focus();
  }
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-drawer]")) drawer(!$("#nav").classList.contains("open"));
    else if (event.target.closest(".nav-shade")) drawer(false);
  });

  /* Dialogs: a link with data-dialog opens its page's form in the one dialog of the page. */
  document.addEventListener("click", async (event) => {
    const link = event.target.closest("a[data-dialog]");
    if (link && !event.metaKey && !event.ctrlKey && !event.shiftKey) {
      event.preventDefault();
      const dialog = $("#dialog");
      await htmx.ajax("GET", link.href, { target: "#dialog", swap: "innerHTML" });
      if (!dialog.firstElementChild) return;
      if (!dialog.open) dialog.showModal();
      const first = $("[autofocus]", dialog) || $("input:not([type=hidden]), select, textarea", dialog);
      if (first) first.focus();
    }
    if (event.target.closest("[data-close]") && event.target.closest("dialog")) {
      event.preventDefault();
      event.target.closest("dialog").close();
    }
    if (event.target.nodeName === "DIALOG" && event.target.id !== "dialog") event.target.close();
  });
  // A form of a dialog that stands in a page of its own is answered in the dialog.
  document.addEventListener("htmx:afterSwap", (event) => {
    const dialog = $("#dialog");
    if (event.detail.target === dialog && dialog.firstElementChild && !dialog.open) dialog.showModal();
  });
  document.addEventListener("input", (event) => {
    const form = event.target.closest("form[data-confirm]");
    if (form && event.target.name === "confirm") {
      $("[data-confirm-button]", form).disabled = event.target.value !== form.dataset.confirm;
    }
  });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method === "get" || form.hasAttribute("data-again")) return;
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "1";
    setTimeout(() => delete form.dataset.sent, 4000);
  });

  /* Rows that can be added to a form. */
  document.addEventListener("click", (event) => {
    const add = event.target.closest("[data-add-row]");
    if (add) {
      const row = $(add.dataset.addRow).content.cloneNode(true);
      const list = $(add.dataset.into);
      list.append(row);
      $("input, select", list.lastElementChild).focus();
    }
    const up = event.target.closest("[data-row-up]");
    if (up) {
      const row = up.closest("[data-row]");
      if (row.previousElementSibling) row.previousElementSibling.before(row);
      up.focus();
    }
    const remove = event.target.closest("[data-remove-row]");
    if (remove) remove.closest("[data-row]").remove();
  });
  document.addEventListener("change", (event) => {
    const select = event.target.closest("[data-shows]");
    if (select) {
      all("[data-shown-by='" + select.name + "']").forEach((part) => (part.hidden = part.dataset.value !== select.value));
    }
    if (event.target.closest("form[data-auto]")) event.target.closest("form").requestSubmit();
  });

  /* The palette. */
  const palette = $("#palette");
  function choose(step) {
    const links = all("a", palette);
    if (!links.length) return;
    const at = links.findIndex((one) => one.getAttribute("aria-selected") === "true");
    const next = links[(at + step + links.length) % links.length];
    links.forEach((one) => one.setAttribute("aria-selected", String(one === next)));
    next.scrollIntoView({ block: "nearest" });
  }
  function openPalette() {
    if (!palette || palette.open) return;
    palette.showModal();
    const input = $("input", palette);
    input.value = "";
    input.focus();
    htmx.trigger(input, "ask");
  }
  if (palette) {
    palette.addEventListener("htmx:afterSwap", () => choose(1));
    palette.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        event.preventDefault();
        choose(event.key === "ArrowDown" ? 1 : -1);
      } else if (event.key === "Enter") {
        const link = $("a[aria-selected='true']", palette);
        if (link) { event.preventDefault(); link.click(); }
      }
    });
    palette.addEventListener("click", (event) => {
      if (event.target.closest("[data-help]")) { palette.close(); $("#keys").showModal(); }
    });
  }
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-palette]")) openPalette();
    if (event.target.closest("[data-help]") && $("#keys") && !$("#keys").open) $("#keys").showModal();
  });

  /* Keys. */
  let before = "", beforeAt = 0;
  const places = {
    c: "/costs/",
    f: "/fleets/",
    h: "/",
    n: "/new-target/",
    o: "/operations/",
    s: "/settings/appearance/",
    t: "/targets/",
  };
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
      event.preventDefault();
      openPalette();
      return;
    }
    const typing = event.target.closest("input, textarea, select, [contenteditable]");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || $("dialog[open]") || !palette) return;
    if (before === "g" && Date.now() - beforeAt < 1200 && places[event.key]) {
      location.href = places[event.key];
    } else if (event.key === "/") {
      event.preventDefault();
      const filter = $("[data-filter]");
      if (filter) { filter.focus(); filter.select(); } else openPalette();
    } else if (event.key === "?") {
      $("#keys").showModal();
    }
    before = event.key;
    beforeAt = Date.now();
  });

  /* Appearance is seen before it is kept. */
  document.addEventListener("change", (event) => {
    if (event.target.name === "theme" && event.target.closest("[data-theme-choice]")) {
      document.documentElement.dataset.theme = event.target.value;
    }
  });
})();
