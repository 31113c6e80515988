// The detail beside a list: links inside [data-drawer] open in #detail; the address is the detail's, also a full page.
"use strict";
{
  const dialog = document.getElementById("detail");
  const list = () => document.querySelector("[data-drawer]");
  const wide = matchMedia("(min-width: 1100px)");
  let home = "";
  let current = "";

  const rows = () => [...(list()?.querySelectorAll("tr[data-href]") || [])];
  const rowOf = (address) => rows().find((row) => row.dataset.href === address);
  const linkOf = (row) => row?.querySelector("a");

  function mark() {
    for (const row of rows()) {
      if (row.dataset.href === current) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    }
    const place = rows().findIndex((row) => row.dataset.href === current);
    const [before, after] = dialog.querySelectorAll("[data-step]");
    before.setAttribute("aria-disabled", String(place <= 0));
    after.setAttribute("aria-disabled", String(place < 0 || place === rows().length - 1));
  }

  function open(address, push) {
    const first = !dialog.open;
    if (first) home = location.pathname + location.search;
    current = address;
    const row = rowOf(address);
    dialog.querySelector("h2").textContent = row?.dataset.title || linkOf(row)?.innerText || "Detail";
    if (push) history.pushState({ detail: address, home }, "", address);
    if (first) {
      document.body.classList.toggle("hf-has-detail", wide.matches);
      if (wide.matches) dialog.show();
      else dialog.showModal();
    }
    mark();
    const body = document.getElementById("detail-body");
    body.setAttribute("aria-busy", "true");
    window.htmx.ajax("GET", address, { target: "#detail-body", swap: "innerHTML" }).then(() => {
      body.removeAttribute("aria-busy");
      dialog.scrollTop = 0;
    });
    dialog.querySelector("h2").focus();
  }

  function close(push) {
    if (!dialog.open) return;
    const row = rowOf(current);
    current = "";
    dialog.close();
    document.body.classList.remove("hf-has-detail");
    document.getElementById("detail-body").replaceChildren();
    mark();
    if (push) history.pushState(null, "", home);
    linkOf(row)?.focus();
  }

  function step(by) {
    const all = rows();
    const next = all[all.findIndex((row) => row.dataset.href === current) + by];
    if (next) open(next.dataset.href, true);
  }

  if (dialog) {
    document.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
      const link = event.target.closest("[data-drawer] tr[data-href] a");
      if (!link || link.getAttribute("href") !== link.closest("tr").dataset.href) return;
      event.preventDefault();
      open(link.getAttribute("href"), true);
    });
    dialog.addEventListener("click", (event) => {
      const button = event.target.closest("[data-step]");
      if (button) step(Number(button.dataset.step));
      if (event.target.closest("[data-close]")) close(true);
    });
    dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      close(true);
    });
    document.addEventListener("keydown", (event) => {
      if (!dialog.open || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, pre")) return;
      if (document.querySelector("dialog:modal:not(#detail)")) return;
      if (event.key === "Escape" && wide.matches) close(true);
      else if (event.key === "[") step(-1);
      else if (event.key === "]") step(1);
    });
    window.addEventListener("popstate", (event) => {
      if (event.state?.detail) open(event.state.detail, false);
      else close(false);
    });
    wide.addEventListener("change", () => close(true));
    document.body.addEventListener("htmx:afterSettle", (event) => event.target.closest?.("[data-drawer]") && mark());
  }
}
