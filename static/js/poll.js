// Asks for the banner of active tasks: every 5 s while something runs, every 15 s else, never in a hidden tab.
"use strict";
{
  const BUSY = 5000;
  const IDLE = 15000;
  const STALE = 20000;
  let mark = "";
  let timer = 0;
  let asking = false;
  let news = Date.now();

  const banner = () => document.getElementById("active-tasks");

  async function poll() {
    clearTimeout(timer);
    const region = banner();
    if (!region || asking) return;
    if (!document.hidden) {
      asking = true;
      const ended = await ask(region);
      asking = false;
      if (ended) return;
    }
    timer = setTimeout(poll, banner().classList.contains("hf-banner") ? BUSY : IDLE);
  }

  // Returns whether asking again is of no use.
  async function ask(region) {
    const query = new URLSearchParams();
    if (mark) query.set("have", mark);
    if (region.dataset.states) query.set("states", region.dataset.states);
    try {
      const answer = await fetch(`${region.dataset.url}?${query}`, { headers: { "HX-Request": "true" } });
      if (answer.status === 401) {
        signedOut(region);
        return true;
      }
      if (!answer.ok) throw new Error(String(answer.status));
      if (answer.status === 200) take(region, answer, await answer.text());
      news = Date.now();
      connected(true);
    } catch {
      connected(false);
    }
    return false;
  }

  // What is below the banner stays where it is.  A banner that wants more room scrolls inside itself until somebody
  // points at it; one that wants less keeps its room until it is out of sight.
  const room = new CSSStyleSheet();
  document.adoptedStyleSheets.push(room);

  function hold(height) {
    room.replaceSync("");
    const region = banner();
    const wanted = region.offsetHeight;
    region.classList.toggle("hf-held", wanted > height);
    if (wanted !== height) room.replaceSync(`#active-tasks { height: ${height}px; }`);
  }

  function release() {
    banner().classList.remove("hf-held");
    room.replaceSync("");
  }

  function pointed(event) {
    if (event.target.closest?.("#active-tasks.hf-held")) release();
  }

  function take(region, answer, html) {
    mark = answer.headers.get("X-Mark") || "";
    const height = region.offsetHeight;
    const parts = new DOMParser().parseFromString(html, "text/html");
    const fresh = parts.getElementById("active-tasks");
    if (!fresh) return;
    window.Idiomorph.morph(region, fresh, { morphStyle: "outerHTML" });
    hold(height);
    for (const id of ["scheduler-seen", "nav-queue", "nav-alerts"]) {
      const [next, here] = [parts.getElementById(id), document.getElementById(id)];
      if (next && here) here.replaceWith(document.adoptNode(next));
    }
    if (answer.headers.get("HX-Trigger") === "tasks-changed") {
      document.body.dispatchEvent(new Event("tasks-changed"));
      window.hfAnnounce(banner().innerText.replace(/\s+/g, " ").slice(0, 200));
    }
    titled();
  }

  function titled() {
    const live = Number(banner()?.dataset.live || 0);
    document.title = (live ? `(${live} running) ` : "") + document.title.replace(/^\(\d+ running\) /, "");
  }

  function connected(yes) {
    const region = banner();
    const late = !yes && Date.now() - news > STALE;
    region.classList.toggle("hf-stale", late);
    let note = document.getElementById("not-connected");
    if (!late) {
      note?.remove();
    } else if (!note) {
      note = document.createElement("p");
      note.id = "not-connected";
      note.className = "hf-note hf-note-error";
      note.setAttribute("role", "alert");
      const twelve = document.body.dataset.clock !== "24";
      const at = new Date(news).toLocaleTimeString("en-US", { hour: twelve ? "numeric" : "2-digit", minute: "2-digit", hour12: twelve });
      note.textContent = `Not connected. Last news ${at}. What you see may be old; this page asks again by itself.`;
      region.append(note);
    }
  }

  function signedOut(region) {
    const text = document.createElement("p");
    const link = document.createElement("a");
    link.href = "/sign-in/?next=" + encodeURIComponent(location.pathname + location.search);
    link.textContent = "Sign in again";
    text.append("Signed out. ", link);
    region.className = "hf-idle";
    region.replaceChildren(text);
  }

  document.addEventListener("visibilitychange", () => document.hidden || poll());
  window.addEventListener("online", poll);
  document.addEventListener("hf:poll", poll);
  for (const kind of ["pointerover", "focusin"]) document.addEventListener(kind, pointed);
  if (banner()) {
    let width = 0;
    new IntersectionObserver((seen) => seen.at(-1).isIntersecting || release()).observe(banner());
    // The whole width: an idle banner has other paddings, and its content another width.
    new ResizeObserver(() => {
      const now = banner().offsetWidth;
      if (width && width !== now) release();
      width = now;
    }).observe(banner());
  }
  titled();
  timer = setTimeout(poll, banner()?.classList.contains("hf-banner") ? 1500 : BUSY);
}
