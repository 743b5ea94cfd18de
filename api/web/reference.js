// The tab "API": where programs begin.

import { codeBlocks, snippets } from "./code.js";
import { h, show } from "./dom.js";
import { describe } from "./service.js";
import { t } from "./words.js";

export async function open(root) {
  const { paths } = await describe();
  const rows = Object.entries(paths).flatMap(([path, operations]) =>
    Object.entries(operations).map(([method, { summary }]) =>
      h("tr", {}, h("th", { scope: "row" }, h("code", {}, `${method.toUpperCase()} ${path}`)), h("td", {}, summary ?? "")),
    ),
  );
  show(
    root,
    h("h1", {}, t("api.heading")),
    h("p", { class: "lead" }, t("api.lead")),
    h("h2", {}, t("api.samples")),
    codeBlocks(snippets(), t("api.samples")),
    h("h2", {}, t("api.endpoints")),
    h("div", { class: "scroll", tabindex: "0" }, h("table", { class: "endpoints" }, h("tbody", {}, rows))),
    h(
      "p",
      { class: "row" },
      h("a", { class: "button", href: "docs" }, t("api.interactive")),
      h("a", { class: "button", href: "openapi.json" }, t("api.document")),
    ),
  );
}
