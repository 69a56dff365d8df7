/* The page of a flag: a slider beside each percentage, and what a save would do while one types. */
"use strict";

for (const number of document.querySelectorAll('input[type="number"][name$="rollout_percent"]')) {
  const slider = document.createElement("input");
  Object.assign(slider, { type: "range", min: 0, max: 100, value: number.value, className: "slider", disabled: number.matches(":disabled") });
  slider.setAttribute("aria-label", number.labels[0].textContent.replace(/:\s*$/, ""));
  slider.addEventListener("input", () => {
    number.value = slider.value;
    number.dispatchEvent(new Event("input", { bubbles: true }));
  });
  number.addEventListener("input", () => (slider.value = number.value));
  number.after(slider);
}

const form = document.getElementById("featureflag_form");
const shown = document.getElementById("preview");
if (form && shown) {
  let waiting, asked;
  const ask = async () => {
    asked?.abort();
    asked = new AbortController();
    const body = new FormData(form);
    body.append("_preview", "fragment");
    try {
      const answer = await fetch(location.href, { method: "POST", body, signal: asked.signal });
      if (answer.ok) shown.innerHTML = await answer.text();
    } catch {
      // Asked anew meanwhile, or no connection: the button of the page tells.
    }
  };
  form.addEventListener("input", (event) => {
    if (event.target.name === "reason") return;
    clearTimeout(waiting);
    waiting = setTimeout(ask, 500);
  });
}
