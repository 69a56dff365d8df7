"use strict";

// The words of a mail: a press on a name puts it where one types, and the preview follows. Both work without this, too.
const form = document.getElementById("words_form");

if (form && !form.querySelector("fieldset").disabled) {
  const fields = [form.elements.subject, form.elements.words];
  const show = document.querySelector("[data-preview]");
  const trouble = document.querySelector("[data-preview-trouble]");
  let field = fields[1];
  let frame = document.querySelector("iframe.mail-frame");
  let waiting = 0;
  let asked = 0;

  for (const each of fields) {
    each.addEventListener("focus", () => { field = each; });
  }

  for (const code of document.querySelectorAll("[data-names] code")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "name";
    button.textContent = code.textContent;
    button.addEventListener("click", () => {
      field.setRangeText(button.textContent, field.selectionStart, field.selectionEnd, "end");
      field.focus();
      field.dispatchEvent(new Event("input", { bubbles: true }));
    });
    code.replaceWith(button);
  }

  // The answer brings its own policy and styles, so that the form itself is sent to the frame: a new one each time,
  // or every pause in typing would be a step of the way back.
  function showHtml() {
    const fresh = frame.cloneNode();
    fresh.removeAttribute("src");
    fresh.name = `preview${asked}`;
    fresh.classList.add("is-coming");
    frame.after(fresh);
    fresh.addEventListener("load", () => {
      if (fresh.name !== show.formTarget) {
        return;
      }
      for (const each of document.querySelectorAll("iframe.mail-frame")) {
        if (each !== fresh) {
          each.remove();
        }
      }
      fresh.classList.remove("is-coming");
      frame = fresh;
    });
    for (const button of document.querySelectorAll("[formtarget]")) {
      button.formTarget = fresh.name;
    }
    form.requestSubmit(show);
  }

  async function preview() {
    const mine = ++asked;
    const data = new FormData(form);
    data.set("part", "text");
    let text = "";
    let ok = false;
    try {
      const answer = await fetch(show.getAttribute("formaction"), { method: "POST", body: data });
      ok = answer.ok;
      text = ok || answer.status === 400 ? await answer.text() : "";
    } catch {
      return;
    }
    if (mine !== asked) {
      return;
    }
    trouble.textContent = ok ? "" : text;
    if (ok) {
      const [subject, ...rest] = text.split("\n\n");
      document.querySelector("[data-preview-subject]").textContent = subject;
      document.querySelector("[data-preview-plain]").textContent = rest.join("\n\n");
      showHtml();
    }
  }

  function soon() {
    clearTimeout(waiting);
    waiting = setTimeout(preview, 500);
  }

  form.addEventListener("input", (event) => {
    if (fields.includes(event.target)) {
      soon();
    }
  });
  document.getElementById("for")?.addEventListener("change", soon);
  document.querySelector("[data-preview-text]").hidden = true;
}
