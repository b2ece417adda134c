/* Updates in place: an htmx extension `morph` that changes only what differs, so that focus, text typed
   into a form, open details and scroll positions stay as they are. */
(function () {
  "use strict";

  const keyOf = (node) => (node.nodeType === 1 ? node.id || node.getAttribute("data-key") || "" : "");

  function alike(a, b) {
    return a.nodeType === b.nodeType && a.nodeName === b.nodeName && keyOf(a) === keyOf(b);
  }

  function keepsOwnState(element, name) {
    if (name === "open") return element.nodeName === "DETAILS" || element.nodeName === "DIALOG";
    if (name === "value" || name === "checked") return ["INPUT", "TEXTAREA", "SELECT"].includes(element.nodeName);
    return name === "class" && element.hasAttribute("data-own-class");
  }

  function morphElement(old, fresh) {
    if (old.hasAttribute("data-keep") || old.isEqualNode(fresh)) return;
    for (const { name, value } of Array.from(fresh.attributes)) {
      if (!keepsOwnState(old, name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const { name } of Array.from(old.attributes)) {
      if (!fresh.hasAttribute(name) && !keepsOwnState(old, name) && name !== "aria-busy") old.removeAttribute(name);
    }
    if (["INPUT", "TEXTAREA", "SELECT"].includes(old.nodeName)) {
      const touched = old === document.activeElement || old.dataset.touched;
      if (!touched && old.nodeName !== "SELECT" && old.value !== fresh.value) old.value = fresh.value;
      return;
    }
    morphChildren(old, fresh);
  }

  function morphChildren(parent, fresh) {
    const keyed = new Map();
    for (const child of parent.childNodes) if (keyOf(child)) keyed.set(keyOf(child), child);
    let place = parent.firstChild;
    for (const wanted of Array.from(fresh.childNodes)) {
      const key = keyOf(wanted);
      let match = null;
      if (key) {
        match = keyed.get(key);
        if (match && !alike(match, wanted)) match = null;
      } else {
        let candidate = place;
        while (candidate && keyOf(candidate)) candidate = candidate.nextSibling;
        if (candidate && alike(candidate, wanted)) match = candidate;
      }
      if (!match) {
        parent.insertBefore(wanted, place);
        if (wanted.nodeType === 1) htmx.process(wanted);
        continue;
      }
      if (match === place) place = place.nextSibling;
      else parent.insertBefore(match, place);
      if (match.nodeType === 1) morphElement(match, wanted);
      else if (match.nodeValue !== wanted.nodeValue) match.nodeValue = wanted.nodeValue;
    }
    while (place) {
      const next = place.nextSibling;
      place.remove();
      place = next;
    }
  }

  htmx.defineExtension("morph", {
    isInlineSwap: (style) => style === "morph",
    handleSwap(style, target, fragment) {
      if (style !== "morph") return false;
      const holder = document.createElement("div");
      holder.append(...Array.from(fragment.childNodes));
      morphChildren(target, holder);
      document.dispatchEvent(new CustomEvent("page:changed", { detail: target }));
      return [];
    },
  });

  document.addEventListener("input", (event) => {
    if (event.target.dataset) event.target.dataset.touched = "1";
  });

  // A hidden tab asks for nothing; it catches up as soon as it is seen again.
  document.addEventListener("htmx:beforeRequest", (event) => {
    const element = event.detail.elt;
    if (document.hidden && element.hasAttribute("data-poll")) event.preventDefault();
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) document.querySelectorAll("[data-poll]").forEach((one) => htmx.trigger(one, "refresh"));
  });

  // A dropped connection is told quietly, and told again when it is back.
  function connection(lost) {
    document.querySelectorAll("[data-reconnecting]").forEach((one) => (one.hidden = !lost));
  }
  document.addEventListener("htmx:sendError", (event) => {
    if (event.detail.elt.hasAttribute("data-poll")) connection(true);
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.successful && event.detail.elt.hasAttribute("data-poll")) connection(false);
  });
  document.addEventListener("htmx:sseError", () => connection(true));
  document.addEventListener("htmx:sseOpen", () => connection(false));
  document.addEventListener("htmx:sseClose", () => connection(false));
})();
