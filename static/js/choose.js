// One box that ticks all boxes of a list.
"use strict";
{
  for (const all of document.querySelectorAll("[data-all]")) {
    const boxes = () => [...all.form.querySelectorAll(`[name="${all.dataset.all}"]`)];
    all.hidden = boxes().length < 2;
    all.addEventListener("change", () => boxes().forEach((box) => (box.checked = all.checked)));
    all.form.addEventListener("change", (event) => {
      if (event.target === all) return;
      const ticked = boxes().filter((box) => box.checked).length;
      all.checked = ticked === boxes().length;
      all.indeterminate = ticked > 0 && !all.checked;
    });
  }
}
