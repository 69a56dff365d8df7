"use strict";

// The page of the finder (project/finder.py) as a dialog: `/`, Ctrl-K or Cmd-K, arrows, Enter, Escape.
{
  const opener = document.getElementById("finder-open");
  const words = opener.dataset;
  let dialog, input, list, status, options = [], active = -1, asked = "", timer, waiting;

  const make = (tag, attributes, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };

  function build() {
    input = make("input", {
      type: "text", role: "combobox", "aria-expanded": "false", "aria-controls": "finder-list", "aria-autocomplete": "list",
      "aria-label": words.label, placeholder: words.placeholder, maxlength: "100", autocomplete: "off", spellcheck: "false",
    });
    list = make("div", {id: "finder-list", role: "listbox", "aria-label": words.results});
    status = make("p", {role: "status"});
    dialog = make("dialog", {id: "finder", "aria-label": words.label}, input, list, status);
    document.body.append(dialog);
    input.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(ask, 120);
    });
    input.addEventListener("keydown", onKey);
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    // The browser gives the focus back to where it was.
    dialog.addEventListener("close", () => {
      clearTimeout(timer);
      waiting?.abort();
    });
  }

  function open() {
    if (!dialog) build();
    if (dialog.open) return;
    dialog.showModal();
    input.focus();
    input.select();
    ask();
  }

  const address = (text, more = "") => `${opener.getAttribute("href")}?q=${encodeURIComponent(text)}${more}`;

  async function ask() {
    waiting?.abort();
    waiting = new AbortController();
    const text = input.value.trim();
    try {
      const answer = await fetch(address(text, "&as=json"), {signal: waiting.signal});
      if (answer.redirected || !answer.ok) throw new Error(answer.status);
      const found = await answer.json();
      asked = text;
      show(found);
    } catch (error) {
      if (error.name === "AbortError") return;
      asked = text;
      show({note: words.failed, kinds: []});
    }
  }

  function show({note, kinds}) {
    options = [];
    const groups = kinds.map((kind, number) => {
      const heading = make("div", {id: `finder-kind-${number}`, class: "finder-kind", role: "presentation"}, kind.label);
      const group = make("div", {role: "group", "aria-labelledby": heading.id}, heading);
      for (const result of kind.results) {
        const attributes = {href: result.url, role: "option", id: `finder-${options.length}`, tabindex: "-1"};
        const option = make("a", {...attributes, "aria-selected": "false"}, make("span", {}, result.text));
        if (result.note) option.append(" ", make("span", {class: "quiet"}, result.note));
        options.push(option);
        group.append(option);
      }
      return group;
    });
    list.replaceChildren(...groups);
    status.textContent = note;
    input.setAttribute("aria-expanded", String(options.length > 0));
    choose(options.length ? 0 : -1);
  }

  function choose(number) {
    options[active]?.setAttribute("aria-selected", "false");
    active = number;
    const option = options[active];
    if (!option) return input.removeAttribute("aria-activedescendant");
    option.setAttribute("aria-selected", "true");
    input.setAttribute("aria-activedescendant", option.id);
    option.scrollIntoView({block: "nearest"});
  }

  function onKey(event) {
    const steps = {ArrowDown: 1, ArrowUp: -1};
    if (event.isComposing) return;
    if (event.key in steps && options.length) {
      event.preventDefault();
      choose((active + steps[event.key] + options.length) % options.length);
    } else if (event.key === "Enter") {
      event.preventDefault();
      // Typed faster than answered: the page finds the same.
      const isAnswered = asked === input.value.trim() && options[active];
      location.assign(isAnswered ? options[active].href : address(input.value.trim()));
    }
  }

  opener.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    open();
  });
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.closest?.("input, textarea, select, [contenteditable]");
    const bare = !event.ctrlKey && !event.metaKey && !event.altKey;
    const isShortcut = (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key === "k";
    if (isShortcut || (event.key === "/" && bare && !isTyping)) {
      event.preventDefault();
      open();
    }
  });
}
