// The key's dialog, the log that follows, and the days of the overview.  Beside plain links and forms, never instead.
"use strict";
{
  // Links with data-dialog open their page's inside in a dialog.
  function dialogOf() {
    let dialog = document.getElementById("page-dialog");
    if (dialog) return dialog;
    dialog = document.createElement("dialog");
    dialog.id = "page-dialog";
    dialog.className = "hf-dialog";
    dialog.setAttribute("aria-labelledby", "page-dialog-title");
    const head = document.createElement("header");
    const title = document.createElement("h2");
    title.id = "page-dialog-title";
    title.tabIndex = -1;
    const close = document.createElement("button");
    close.type = "button";
    close.className = "hf-icon-button";
    close.dataset.closes = "yes";
    close.setAttribute("aria-label", "Close");
    close.textContent = "×";
    head.append(title, close);
    const body = document.createElement("div");
    dialog.append(head, body);
    dialog.addEventListener("close", () => {
      body.replaceChildren();
      document.dispatchEvent(new Event("hf:poll"));
    });
    document.body.append(dialog);
    return dialog;
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-dialog]");
    if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.button) {
      event.preventDefault();
      const dialog = dialogOf();
      const body = dialog.lastElementChild;
      window.htmx.ajax("GET", link.getAttribute("href"), { target: body, swap: "innerHTML" }).then(() => {
        dialog.querySelector("h2").textContent = body.firstElementChild?.dataset.title || link.innerText;
        dialog.showModal();
        (body.querySelector("input[type=password]") || dialog.querySelector("h2")).focus();
      });
      return;
    }
    const away = event.target.closest("dialog a[data-closes]");
    if (away) event.preventDefault();
  });

  // The key as a file: made here from what is shown, then noted as saved.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    const name = form.dataset.keyFile;
    if (name) {
      const text = document.getElementById("key")?.textContent.trim();
      if (!text) return;
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([text + "\n"], { type: "text/plain" }));
      link.download = name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    } else if (form.matches("[data-key-form]") && event.submitter?.value === "download" && form.closest("dialog")) {
      setTimeout(() => location.reload(), 2500);
    }
  });

  // A key is hidden again after a while.
  setInterval(() => {
    const region = document.querySelector("[data-hides-in]");
    if (!region) return;
    region.dataset.end ||= String(Date.now() + 1000 * Number(region.dataset.hidesIn));
    const left = Math.round((Number(region.dataset.end) - Date.now()) / 1000);
    region.querySelector("[data-left]").textContent = left > 0 ? `hidden again in ${left} s` : "";
    if (left > 0) return;
    region.textContent = "The key is hidden again.";
    region.removeAttribute("data-hides-in");
  }, 500);

  // The log: new lines are added below; it follows until the reader scrolls up.
  function following(log) {
    const box = log.closest(".hf-log")?.querySelector("input[data-follow]");
    return !box || box.checked;
  }

  document.addEventListener("scroll", (event) => {
    const log = event.target;
    if (!(log instanceof HTMLElement) || !log.matches("pre[role=log]")) return;
    const box = log.closest(".hf-log")?.querySelector("input[data-follow]");
    if (box) box.checked = log.scrollTop + log.clientHeight >= log.scrollHeight - 24;
  }, true);
  document.addEventListener("htmx:afterSwap", () => {
    for (const log of document.querySelectorAll(".hf-log-live pre[role=log]")) {
      if (following(log)) log.scrollTop = log.scrollHeight;
    }
  });

  // The days: one stop for the Tab key, arrows move, Enter opens.
  document.addEventListener("keydown", (event) => {
    const day = event.target.closest?.(".hf-heat [data-day]");
    const by = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!day || !by) return;
    const [row, column] = day.dataset.day.split("-").map(Number);
    const next = document.querySelector(`.hf-heat [data-day="${row + by[0]}-${column + by[1]}"]`);
    event.preventDefault();
    if (!next || !next.offsetParent) return;
    day.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
}
