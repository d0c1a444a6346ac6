// Making and changing elements. Text always goes in as text, so names cannot bring markup along.

/** An element with properties (`class`, `text`, `data`, `on`; anything else is an attribute) and children. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") made.className = value;
    else if (name === "text") made.textContent = value;
    else if (name === "data") Object.assign(made.dataset, value);
    else if (name === "on") for (const [event, listener] of Object.entries(value)) made.addEventListener(event, listener);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export const byId = (id) => document.getElementById(id);

/** Change text only when it differs, so that selections and screen readers aren't disturbed. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Show a message in a notice, or hide it when there is none. */
export function notice(node, message) {
  setText(node, message ?? "");
  node.hidden = !message;
}

export function badge(state) {
  return element("span", { class: "badge", text: state, data: { state } });
}

export function setBadge(node, state) {
  setText(node, state);
  node.dataset.state = state;
}

/** Fill a list of figures, each `[name, value, note]`. */
export function setFigures(list, figures) {
  if (!list.childElementCount) {
    list.append(...figures.map(() => element("div", {}, element("dt"), element("dd", { class: "figure" }), element("dd", { class: "note" }))));
  }
  figures.forEach((texts, i) => [...list.children[i].children].forEach((node, j) => setText(node, texts[j])));
}

/** Fill a list with tags, and hide it when there are none. */
export function setTags(list, tags) {
  list.hidden = tags.length === 0;
  const text = tags.join("\n");
  if (list.dataset.text === text) return;
  list.dataset.text = text;
  list.replaceChildren(...tags.map((tag) => element("li", { class: "tag", text: tag })));
}

/** A progress bar (`share` from 0 to 1) that assistive technology can read. */
export function bar(label) {
  const fill = element("div", { class: "bar-fill" });
  return element("div", { class: "bar", role: "progressbar", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": 100 }, fill);
}

export function setBar(node, share, text, state) {
  node.setAttribute("aria-valuenow", String(Math.round(share * 100)));
  node.setAttribute("aria-valuetext", text);
  node.dataset.state = state;
  node.firstElementChild.style.width = `${(share * 100).toFixed(1)}%`;
}
