// Keys: "/" search, "g" and a letter go somewhere, "n" new, "?" the list.  Off in fields, and when the person says so.
"use strict";
{
  const WAIT = 1200;
  let going = 0;
  const on = () => document.body.dataset.shortcuts === "on";

  function go(letter) {
    const link = document.querySelector(`#nav a[data-key="${CSS.escape(letter)}"]`);
    if (link) location.href = link.href;
    return Boolean(link);
  }

  const actions = {
    "/": () => {
      const field = document.getElementById("search");
      field?.focus();
      field?.select();
      return Boolean(field);
    },
    g: () => {
      going = Date.now();
      return true;
    },
    n: () => {
      const link = document.querySelector('.hf-actions a[href$="/new/"], .hf-actions [data-new]');
      link?.click();
      return Boolean(link);
    },
    "?": () => {
      document.getElementById("keys")?.showModal();
      return true;
    },
  };

  document.addEventListener("keydown", (event) => {
    if (!on() || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.target.closest("input, textarea, select, [contenteditable], dialog:modal")) return;
    const late = Date.now() - going > WAIT;
    going = 0;
    const done = late ? actions[event.key]?.() : go(event.key);
    if (done) event.preventDefault();
  });
}
