// The banner's polling, rows as links, copying, and the "/" key.  Works beside plain links and forms, never instead of them.
"use strict";

const EVERY = 5000;
let mark = "";
let timer = 0;

function banner() {
  return document.getElementById("active-tasks");
}

async function poll() {
  clearTimeout(timer);
  const region = banner();
  if (!region) return;
  if (!document.hidden) {
    const query = new URLSearchParams();
    if (mark) query.set("have", mark);
    if (region.dataset.states) query.set("states", region.dataset.states);
    try {
      const answer = await fetch(`${region.dataset.url}?${query}`, { headers: { "HX-Request": "true" } });
      if (answer.status === 401) return signedOut(region);
      if (answer.status === 200) take(region, answer, await answer.text());
      region.classList.remove("hf-stale");
    } catch {
      region.classList.add("hf-stale");
    }
  }
  timer = setTimeout(poll, EVERY);
}

function take(region, answer, html) {
  mark = answer.headers.get("X-Mark") || "";
  const parts = new DOMParser().parseFromString(html, "text/html");
  window.Idiomorph.morph(region, parts.getElementById("active-tasks"), { morphStyle: "outerHTML" });
  const seen = parts.getElementById("scheduler-seen");
  const foot = document.getElementById("scheduler-seen");
  if (seen && foot) foot.replaceWith(document.adoptNode(seen));
  if (answer.headers.get("HX-Trigger") === "tasks-changed") {
    document.body.dispatchEvent(new Event("tasks-changed"));
    document.getElementById("announce").textContent = banner().innerText.slice(0, 200);
  }
  const live = Number(banner().dataset.live || 0);
  document.title = (live ? `(${live} running) ` : "") + document.title.replace(/^\(\d+ running\) /, "");
}

function signedOut(region) {
  const link = document.createElement("a");
  link.href = "/sign-in/?next=" + encodeURIComponent(location.pathname);
  link.textContent = "Signed out. Sign in again";
  region.replaceChildren(link);
}

document.addEventListener("visibilitychange", () => document.hidden || poll());
document.addEventListener("click", (event) => {
  const copy = event.target.closest("[data-copy]");
  if (copy) {
    navigator.clipboard.writeText(document.getElementById(copy.dataset.copy).textContent.trim());
    copy.textContent = "Copied";
  }
  const row = event.target.closest("tr[data-href]");
  if (row && !event.target.closest("a, button, input, summary") && !getSelection().toString()) location.href = row.dataset.href;
  if (event.target.closest(".hf-menu-button")) document.querySelector(".hf-side").classList.toggle("hf-open");
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.closest("input, textarea, select")) return;
  const field = document.getElementById("search");
  if (field) {
    event.preventDefault();
    field.focus();
  }
});
poll();
