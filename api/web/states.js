// What a part shows while it waits, when it fails, and when there is nothing.

import { announce, h } from "./dom.js";
import { Failure } from "./service.js";
import { t } from "./words.js";

export const loading = (text = t("loading")) =>
  h("div", { class: "state", role: "status" }, h("span", { class: "spinner", "aria-hidden": "true" }), h("p", {}, text));

export const empty = (title, text) => h("div", { class: "state" }, h("h2", {}, title), text && h("p", {}, text));

/** In words that say what to do. Anything but a Failure is our own mistake, and goes to the console as well. */
export function describe(error) {
  if (!(error instanceof Failure)) {
    console.error(error);
    return String(error.message ?? error);
  }
  if (error.status === 0) return t("error.network");
  if (error.status === 401) return t("key.needed");
  const { title = "", detail = "" } = error.problem;
  const text = t("error.other", { title: title || error.status, detail });
  return error.retryAfter ? `${text} ${t("error.busy", { seconds: error.retryAfter })}` : text;
}

export function failed(error, again) {
  const text = describe(error);
  announce(text);
  return h(
    "div",
    { class: "state problem", role: "alert" },
    h("p", {}, text),
    again && h("button", { class: "button", onclick: again }, error.status === 401 ? t("key.enter") : t("retry")),
  );
}
