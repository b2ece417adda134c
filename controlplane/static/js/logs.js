/* The log viewer: follows, tells of new lines when the reader looks elsewhere, wraps. */
(function () {
  "use strict";
  const box = document.getElementById("log-lines");
  if (!box) return;
  const follow = document.getElementById("follow"), wrap = document.getElementById("wrap");
  const pill = document.getElementById("new-lines");
  const MOST = 5000, PAUSE = 1500;
  let cursor = box.dataset.cursor, following = false, timer = null, unseen = 0, failures = 0;

  const atEnd = () => box.scrollHeight - box.scrollTop - box.clientHeight < 24;
  const toEnd = () => { box.scrollTop = box.scrollHeight; seen(); };
  function seen() { unseen = 0; pill.hidden = true; }
  if (!location.hash) toEnd();

  function remember(name, on) {
    const url = new URL(location.href);
    if (on) url.searchParams.set(name, "1"); else url.searchParams.delete(name);
    history.replaceState(null, "", url);
  }

  async function fetchLines() {
    const url = new URL(box.dataset.url, location.href);
    url.searchParams.set("cursor", cursor);
    try {
      const answer = await fetch(url, { headers: { "HX-Request": "true" } });
      if (!answer.ok) throw new Error(answer.status);
      cursor = answer.headers.get("X-Cursor") || cursor;
      const text = (await answer.text()).trim();
      failures = 0;
      reconnecting(false);
      if (!text) return;
      const end = atEnd();
      const fresh = new DOMParser().parseFromString(text, "text/html").body;
      const none = document.getElementById("no-lines");
      if (none) none.remove();
      unseen += fresh.children.length;
      box.append(...Array.from(fresh.childNodes));
      // Lines above the reader go when there are too many; the place they read stays where it is.
      while (box.children.length > MOST && end) box.firstElementChild.remove();
      document.dispatchEvent(new CustomEvent("page:changed"));
      if (end) toEnd();
      else { pill.hidden = false; pill.querySelector("span").textContent = unseen + " new line" + (unseen === 1 ? "" : "s"); }
    } catch {
      failures += 1;
      reconnecting(true);
    }
  }
  function reconnecting(lost) {
    document.querySelectorAll("[data-reconnecting]").forEach((one) => (one.hidden = !lost));
  }
  async function loop() {
    if (!following) return;
    if (!document.hidden) await fetchLines();
    timer = setTimeout(loop, Math.min(PAUSE * 2 ** failures, 15000));
  }
  function setFollowing(on) {
    following = on;
    follow.setAttribute("aria-pressed", String(on));
    follow.classList.toggle("pressed", on);
    follow.querySelector("span").textContent = on ? "Following" : "Follow";
    follow.querySelector("use").setAttribute("href", document.body.dataset.sprite + (on ? "#pause" : "#play"));
    remember("follow", on);
    clearTimeout(timer);
    if (on) { toEnd(); loop(); }
  }

  follow.addEventListener("click", () => setFollowing(!following));
  wrap.addEventListener("click", () => {
    const on = box.classList.toggle("wrapped");
    wrap.setAttribute("aria-pressed", String(on));
    wrap.classList.toggle("pressed", on);
    remember("nowrap", !on);
  });
  wrap.classList.add("pressed");
  pill.addEventListener("click", toEnd);
  box.addEventListener("scroll", () => { if (atEnd()) seen(); });
  const wanted = new URL(location.href).searchParams;
  if (wanted.get("nowrap")) wrap.click();
  if (wanted.get("follow")) setFollowing(true);
})();
