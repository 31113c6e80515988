// Rows as links, copying, messages, menus and questions.  Works beside plain links and forms, never instead of them.
"use strict";
{
  window.hfAnnounce = (text) => {
    const region = document.getElementById("announce");
    if (region) region.textContent = text;
  };

  // Messages: leave after a while unless they are errors, pointed at, or focused.
  const SHORT = 6000;
  const WITH_UNDO = 10000;

  function begin(toast) {
    if (toast.dataset.begun) return;
    toast.dataset.begun = "yes";
    window.hfAnnounce(toast.querySelector("div").innerText);
    toast.querySelector("[data-dismiss]")?.addEventListener("click", () => toast.remove());
    if (toast.classList.contains("hf-toast-error")) return;
    const time = toast.querySelector("form") ? WITH_UNDO : SHORT;
    let timer = setTimeout(() => toast.remove(), time);
    for (const event of ["pointerenter", "focusin"]) toast.addEventListener(event, () => clearTimeout(timer));
    for (const event of ["pointerleave", "focusout"]) {
      toast.addEventListener(event, () => {
        clearTimeout(timer);
        timer = setTimeout(() => toast.remove(), time);
      });
    }
  }

  const toasts = document.getElementById("toasts");
  if (toasts) {
    toasts.querySelectorAll(".hf-toast").forEach(begin);
    new MutationObserver(() => toasts.querySelectorAll(".hf-toast").forEach(begin)).observe(toasts, { childList: true });
  }
  window.hfToast = (text, kind = "success") => {
    const toast = document.getElementById("toast-form").content.firstElementChild.cloneNode(true);
    toast.classList.add(`hf-toast-${kind}`);
    toast.setAttribute("role", kind === "error" ? "alert" : "status");
    toast.querySelector("div").textContent = text;
    toasts.append(toast);
  };

  // Copying.
  async function copy(button) {
    const source = document.getElementById(button.dataset.copy);
    const text = (source.value ?? source.textContent).trim();
    try {
      await navigator.clipboard.writeText(text);
      window.hfToast("Copied. The clipboard keeps it until you copy something else.");
    } catch {
      getSelection().selectAllChildren(source);
      window.hfToast("Your browser does not let pages copy here. The text is marked: press Ctrl C.", "error");
    }
  }

  // A question before what cannot be undone: <button data-confirm="…" data-confirm-title="…" data-keep="Keep them">.
  function ask(button) {
    const dialog = document.getElementById("confirm");
    dialog.querySelector("h2").textContent = button.dataset.confirmTitle || button.innerText.trim() + "?";
    dialog.querySelector("[data-text]").textContent = button.dataset.confirm;
    const [keep, go] = dialog.querySelectorAll("footer button");
    keep.textContent = button.dataset.keep || "Leave it as it is";
    go.textContent = button.dataset.confirmVerb || button.innerText.trim();
    go.onclick = () => {
      dialog.close();
      button.dataset.confirmed = "yes";
      button.click();
      delete button.dataset.confirmed;
    };
    dialog.showModal();
    keep.focus();
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button, a, [role=button]");
    if (button?.getAttribute("aria-disabled") === "true") {
      event.preventDefault();
      event.stopImmediatePropagation();
      return;
    }
    if (button?.dataset.confirm && !button.dataset.confirmed) {
      event.preventDefault();
      event.stopImmediatePropagation();
      ask(button);
      return;
    }
    if (button?.dataset.copy) copy(button);
    if (button?.dataset.opens) {
      button.closest("[popover]")?.hidePopover();
      document.getElementById(button.dataset.opens)?.showModal();
    }
    if (button?.dataset.closes) button.closest("dialog")?.close();
    for (const open of document.querySelectorAll("details.hf-more[open]")) {
      if (!open.contains(event.target)) open.open = false;
    }
  }, true);
  document.addEventListener("click", (event) => {
    const row = event.target.closest("tr[data-href]");
    if (!row || event.defaultPrevented || event.target.closest("a, button, input, label, select, summary, details")) return;
    if (getSelection().toString()) return;
    const link = row.querySelector(`a[href="${CSS.escape(row.dataset.href)}"]`) || row.querySelector("a");
    if (event.ctrlKey || event.metaKey) window.open(row.dataset.href);
    else if (link) link.click();
    else location.href = row.dataset.href;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const open = document.querySelector("details.hf-more[open]");
    if (!open) return;
    open.open = false;
    open.querySelector("summary").focus();
    event.stopPropagation();
  });

  // A form is sent once; a page that comes back from the history can send again.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post" || event.defaultPrevented) return;
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
    setTimeout(() => delete form.dataset.sent, 4000);
  });

  // Forms with an error: take the reader to the first wrong field.
  const wrong = document.querySelector("main [aria-invalid=true]");
  if (wrong && !document.activeElement?.matches("[autofocus]")) wrong.focus();

  // What htmx could not get is said, not swallowed.
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.xhr.status === 422) event.detail.shouldSwap = true;
  });
  document.addEventListener("htmx:responseError", (event) => {
    const status = event.detail.xhr.status;
    if (status === 422) return;
    if (status === 401) window.hfToast("Signed out. Load the page to sign in again; what you typed is still here.", "error");
    else window.hfToast(`The panel answered with error ${status}. Nothing was changed by this page.`, "error");
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.requestConfig?.verb === "post") document.dispatchEvent(new Event("hf:poll"));
  });
}
