// Search fields: the list under a field, moved through by arrows, taken by Enter or a click.  Without this, one types.
"use strict";
{
  const listOf = (field) => document.getElementById(field.getAttribute("aria-controls"));
  const offersOf = (field) => [...listOf(field).querySelectorAll("[role=option]:not([aria-disabled=true])")];

  function close(field) {
    listOf(field).hidden = true;
    field.setAttribute("aria-expanded", "false");
    point(field, null);
  }

  function open(field) {
    if (!listOf(field).children.length) return;
    listOf(field).hidden = false;
    field.setAttribute("aria-expanded", "true");
  }

  function point(field, offer) {
    for (const each of listOf(field).children) each.setAttribute("aria-selected", String(each === offer));
    if (offer) field.setAttribute("aria-activedescendant", offer.id);
    else field.removeAttribute("aria-activedescendant");
    offer?.scrollIntoView({ block: "nearest" });
  }

  function take(field, offer) {
    field.value = offer.dataset.value;
    field.removeAttribute("aria-invalid");
    close(field);
    field.dispatchEvent(new Event("change", { bubbles: true }));
  }

  function step(field, by) {
    const offers = offersOf(field);
    if (!offers.length) return;
    const now = offers.findIndex((offer) => offer.getAttribute("aria-selected") === "true");
    point(field, offers[now < 0 ? (by > 0 ? 0 : offers.length - 1) : (now + by + offers.length) % offers.length]);
  }

  const fieldOf = (event) => (event.target.matches?.(".hf-lookup [role=combobox]") ? event.target : null);

  document.addEventListener("keydown", (event) => {
    const field = fieldOf(event);
    if (!field) return;
    const shown = !listOf(field).hidden;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (!shown) open(field);
      step(field, event.key === "ArrowDown" ? 1 : -1);
    } else if (event.key === "Enter" && shown) {
      const chosen = offersOf(field).find((offer) => offer.getAttribute("aria-selected") === "true");
      if (chosen) {
        event.preventDefault();
        take(field, chosen);
      }
    } else if (event.key === "Escape" && shown) {
      event.preventDefault();
      event.stopPropagation();
      close(field);
    }
  });

  // Pressed, not clicked: the click comes after the field has lost the focus.
  document.addEventListener("mousedown", (event) => {
    const list = event.target.closest?.(".hf-offers");
    if (!list) return;
    event.preventDefault();
    const offer = event.target.closest("[role=option]:not([aria-disabled=true])");
    if (offer) take(list.parentElement.querySelector("[role=combobox]"), offer);
  });

  document.addEventListener("focusout", (event) => {
    const field = fieldOf(event);
    if (field) close(field);
  });

  document.addEventListener("htmx:afterSwap", (event) => {
    if (!event.target.matches?.(".hf-offers")) return;
    const field = event.target.parentElement.querySelector("[role=combobox]");
    if (document.activeElement !== field) return;
    point(field, null);
    open(field);
    const many = offersOf(field).length;
    window.hfAnnounce(many ? `${many} to choose from. Use the arrow keys.` : "Nothing fits what you typed.");
  });
}
