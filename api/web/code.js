// The same request for programs.

import { copy, h } from "./dom.js";
import { t } from "./words.js";

const base = () => new URL(".", location.href).href.replace(/\/$/, "");

export const snippets = (query = "") => {
  const url = `${base()}/v1/predict${query}`;
  return {
    curl: `curl -F file=@photo.jpg '${url}'`,
    Python: `import httpx

with open("photo.jpg", "rb") as photo:
    answer = httpx.post("${url}", files={"file": photo})
answer.raise_for_status()
for face in answer.json()["faces"]:
    print(face["box"], face["emotion"], face["confidence"])`,
    JavaScript: `const form = new FormData();
form.append("file", input.files[0]);
const response = await fetch("${url}", { method: "POST", body: form });
const { faces } = await response.json();
console.log(faces);`,
  };
};

/** A block for each, behind buttons with their names. */
export function codeBlocks(blocks, label) {
  const names = Object.keys(blocks);
  const pre = h("pre", { tabindex: "0", "aria-label": label });
  const button = h("button", { class: "button small", onclick: () => copy(pre.textContent, button, t("copied")) }, t("copy"));
  const choose = (name) => {
    pre.textContent = blocks[name];
    for (const one of chooser.children) one.setAttribute("aria-pressed", String(one.textContent === name));
  };
  const chooser = h(
    "div",
    { class: "chooser", role: "group", "aria-label": label },
    names.map((name) => h("button", { class: "chip", onclick: () => choose(name) }, name)),
  );
  choose(names[0]);
  return h("div", { class: "code" }, h("div", { class: "row" }, chooser, button), pre);
}
