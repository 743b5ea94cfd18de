// Elements by hand: text is always set as text, so nothing that a server says becomes markup.

export const byId = (id) => document.getElementById(id);

/** h("p", {class: "note", onclick: f, data: {face: 1}}, "text", child): an element. False and null children are left out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  set(element, attributes);
  element.append(...children.flat().filter((child) => child !== null && child !== false && child !== undefined));
  return element;
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  set(element, attributes);
  element.append(...children.flat().filter(Boolean));
  return element;
}

function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "data") Object.assign(element.dataset, value);
    // Through the object model, which the content security policy allows; a style attribute it does not.
    else if (name === "style") for (const [key, one] of Object.entries(value)) element.style.setProperty(key, one);
    else if (name === "value" || name === "disabled" || name === "checked") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
}

export function show(element, ...children) {
  element.replaceChildren(...children.flat().filter(Boolean));
}

/** Says something to screen readers, at most every three seconds: only the newest of what came meanwhile. */
export const announce = (() => {
  let waiting = null;
  let last = 0;
  return (text) => {
    clearTimeout(waiting);
    waiting = setTimeout(
      () => {
        last = performance.now();
        byId("live").textContent = text;
      },
      Math.max(0, last ? last + 3000 - performance.now() : 0),
    );
  };
})();

export async function copy(text, button, done) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // No clipboard without HTTPS: the old way.
    const area = h("textarea", { value: text, class: "offscreen", "aria-hidden": "true" });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  button.textContent = done;
  announce(done);
  setTimeout(() => (button.textContent = before), 1500);
}
