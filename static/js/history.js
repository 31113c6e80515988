// Rows that come while somebody reads a list stay away until asked for: "2 new · show".  The others change in place.
"use strict";
{
  const list = () => document.querySelector("[data-arrivals]");
  let fresh = null;

  function reading(region) {
    return region.getBoundingClientRect().top < 0 || region.contains(document.activeElement) ||
      region.querySelector('tr[aria-current="true"]');
  }

  function button() {
    let found = document.getElementById("arrivals");
    if (found) return found;
    found = document.createElement("button");
    found.type = "button";
    found.id = "arrivals";
    found.className = "btn btn-primary hf-arrivals";
    found.addEventListener("click", show);
    list().before(found);
    return found;
  }

  function show() {
    const region = list();
    if (fresh && region) {
      window.Idiomorph.morph(region, fresh, { morphStyle: "outerHTML" });
      window.htmx.process(list());
    }
    fresh = null;
    document.getElementById("arrivals")?.remove();
    const link = list()?.querySelector("tbody a");
    link?.focus({ preventScroll: true });
    link?.closest("section").scrollIntoView({ block: "nearest" });
  }

  document.addEventListener("htmx:beforeSwap", (event) => {
    const region = list();
    if (!region || event.detail.target !== region || event.detail.requestConfig?.triggeringEvent?.type !== "tasks-changed") {
      if (region && event.detail.target === region) document.getElementById("arrivals")?.remove();
      return;
    }
    const next = new DOMParser().parseFromString(event.detail.serverResponse, "text/html").getElementById("rows");
    const rows = [...(next?.querySelectorAll("tbody tr[id]") || [])];
    const come = rows.filter((row) => !document.getElementById(row.id)).length;
    const top = rows.length && !document.getElementById(rows[0].id);
    if (!come || !top || !reading(region)) {
      document.getElementById("arrivals")?.remove();
      return;
    }
    event.detail.shouldSwap = false;
    fresh = next;
    for (const row of rows) {
      const here = document.getElementById(row.id);
      const current = here?.getAttribute("aria-current");
      if (!here) continue;
      window.Idiomorph.morph(here, row.cloneNode(true), { morphStyle: "outerHTML" });
      if (current) here.setAttribute("aria-current", current);
    }
    button().textContent = `${come} new · show`;
    window.hfAnnounce(`${come} new ${come === 1 ? "entry" : "entries"}`);
  });
}
