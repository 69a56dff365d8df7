"use strict";

// Ticks the rows of a list: all of the page, a range with Shift, and all that the list finds.
const table = document.getElementById("result_list");
const toggle = document.getElementById("action-toggle");
if (table && toggle) {
  const bar = document.querySelector("#changelist .actions");
  const boxes = [...table.tBodies[0].querySelectorAll("td.action-checkbox input")];
  const across = bar.querySelector(".select-across");
  const counter = bar.querySelector(".action-counter");
  let isShift = false;
  let last = null;

  const show = (name, isShown) => bar.querySelector(name)?.classList.toggle("hidden", !isShown);

  const draw = () => {
    const chosen = boxes.filter((box) => box.checked).length;
    const isWhole = chosen === boxes.length;
    if (!isWhole) across.value = "0";
    const isAcross = across.value === "1";
    toggle.checked = isWhole;
    for (const box of boxes) box.closest("tr").classList.toggle("selected", box.checked);
    // The sentence begins with the number of those ticked, in every language.
    counter.textContent = counter.textContent.replace(/\d+/, chosen);
    counter.classList.toggle("hidden", isAcross);
    show(".all", isAcross);
    show(".question", isWhole && !isAcross);
    show(".clear", isAcross);
  };

  const tick = (some, isTicked) => {
    for (const box of some) box.checked = isTicked;
    draw();
  };

  toggle.addEventListener("change", () => tick(boxes, toggle.checked));
  table.addEventListener("click", (event) => {
    isShift = event.shiftKey;
  });
  table.tBodies[0].addEventListener("change", ({ target }) => {
    if (!boxes.includes(target)) return;
    const [from, to] = [boxes.indexOf(isShift && last ? last : target), boxes.indexOf(target)].sort((a, b) => a - b);
    last = target;
    tick(boxes.slice(from, to + 1), target.checked);
  });
  bar.addEventListener("click", (event) => {
    const link = event.target.closest(".question a, .clear a");
    if (!link) return;
    event.preventDefault();
    across.value = link.matches(".question a") ? "1" : "0";
    if (across.value === "1") draw();
    else tick(boxes, false);
  });
  // Also when one comes back to the page.
  addEventListener("pageshow", draw);
}
