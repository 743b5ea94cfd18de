// The tab "Experiments": the A/B report, drawn from its JSON.

import { h, show, svg } from "./dom.js";
import { askJson, Failure } from "./service.js";
import { empty, failed, loading } from "./states.js";
import { number, percent, t } from "./words.js";

let root = null;
let chosen = null;

export async function open(element) {
  root = element;
  await refresh();
}

async function refresh() {
  const heading = [h("h1", {}, t("experiments.heading")), h("p", { class: "lead" }, t("experiments.lead"))];
  show(root, heading, loading());
  let list;
  try {
    list = await askJson("v1/experiments");
  } catch (error) {
    const closed = error instanceof Failure && error.status === 403;
    show(root, heading, closed ? empty(t("experiments.closed"), t("experiments.closed.text")) : failed(error, refresh));
    return;
  }
  const broken = list.error && h("p", { class: "state problem", role: "alert" }, t("experiments.config", { error: list.error }));
  if (!list.experiments.length) {
    show(root, heading, broken, empty(t("experiments.none"), t("experiments.none.text")));
    return;
  }
  if (!list.experiments.some(({ name }) => name === chosen)) chosen = list.experiments[0].name;
  const place = h("div", {});
  const select = h(
    "select",
    {
      onchange: () => {
        chosen = select.value;
        report(place);
      },
    },
    list.experiments.map(({ name, state }) => h("option", { value: name }, `${name} (${t(`experiments.state.${state}`)})`)),
  );
  select.value = chosen;
  show(
    root,
    heading,
    broken,
    h(
      "div",
      { class: "row tools" },
      h("label", { class: "field" }, h("span", {}, t("experiments.choose")), select),
      h("button", { class: "button", onclick: () => report(place, true) }, t("experiments.refresh")),
    ),
    place,
  );
  await report(place);
}

async function report(place, fresh = false) {
  show(place, loading());
  const name = chosen;
  let found;
  try {
    found = await askJson(`v1/experiments/${encodeURIComponent(name)}/report${fresh ? "?fresh=true" : ""}`);
  } catch (error) {
    if (name === chosen) show(place, failed(error, () => report(place, fresh)));
    return;
  }
  if (name !== chosen) return;
  const { variants, comparisons } = found;
  const measured = variants.filter((variant) => variant.accuracy);
  const timed = variants.filter((variant) => variant.latency_ms);
  show(
    place,
    h(
      "div",
      { class: `verdict ${found.verdict.replace(" ", "-")}` },
      h("strong", {}, t(`verdict.${found.verdict}`)),
      h("p", {}, found.advice),
      h("p", { class: "note" }, t("experiments.age", { seconds: number(found.age_s) })),
    ),
    section(
      t("experiments.shares"),
      h(
        "div",
        { class: "shares" },
        variants.map((variant, index) =>
          h("span", { class: `share v${index % 4}`, style: { "flex-grow": variant.share || 0.001 } }, `${variant.name} ${percent(variant.share)}`),
        ),
      ),
    ),
    table(
      ["variant", "requests", "faces", "feedback", "fallbacks"],
      variants.map((variant) => [
        variant.control ? `${variant.name} (${t("experiments.control")})` : variant.name,
        number(variant.requests),
        number(variant.faces),
        number(variant.feedback),
        variant.fallback_rate === null ? "–" : percent(variant.fallback_rate, 1),
      ]),
    ),
    section(t("experiments.accuracy"), measured.length ? intervals(measured) : h("p", { class: "note" }, t("experiments.history.empty"))),
    comparisons.length &&
      section(
        t("experiments.compare"),
        table(
          ["variant", "difference", "interval", "p", "still"],
          comparisons.map((one) => [
            one.variant,
            points(one.difference),
            one.always_valid_interval ? `${points(one.always_valid_interval.low)} … ${points(one.always_valid_interval.high)}` : "–",
            one.always_valid_p === null ? "–" : number(one.always_valid_p, 4),
            found.verdict === "keep running" ? number(one.needed.still) : "–",
          ]),
        ),
      ),
    comparisons.map((one) =>
      section(
        `${one.variant}: ${t("experiments.history")}`,
        one.history.filter((point) => point.interval).length > 1
          ? course(one.history.filter((point) => point.interval))
          : h("p", { class: "note" }, t("experiments.history.empty")),
      ),
    ),
    timed.length &&
      section(
        t("experiments.latency"),
        table(
          ["variant"],
          timed.map(({ name: variant, latency_ms: ms }) => [variant, number(ms.p50, 1), number(ms.p95, 1), number(ms.p99, 1)]),
          ["p50", "p95", "p99"],
        ),
      ),
    section(t("experiments.notes"), h("ul", {}, found.notes.map((note) => h("li", {}, note)))),
  );
}

const section = (title, ...content) => h("section", {}, h("h2", {}, title), content);
const points = (value) => `${value < 0 ? "−" : "+"}${number(100 * Math.abs(value), 1)}`;

const table = (names, rows, more = []) =>
  h(
    "div",
    { class: "scroll", tabindex: "0" },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, [...names.map((name) => t(`experiments.${name}`)), ...more].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, rows.map(([first, ...others]) => h("tr", {}, h("th", { scope: "row" }, first), others.map((one) => h("td", {}, one))))),
    ),
  );

/** Wilson's intervals, one under the other on one axis. */
function intervals(variants) {
  const low = Math.floor(20 * Math.min(...variants.map(({ accuracy }) => accuracy.low))) / 20;
  const high = Math.ceil(20 * Math.max(...variants.map(({ accuracy }) => accuracy.high))) / 20;
  const place = (value) => (100 * (value - low)) / (high - low || 1);
  return h(
    "div",
    { class: "intervals" },
    variants.map(({ name, accuracy }, index) =>
      h(
        "div",
        { class: "interval", role: "img", "aria-label": `${name}: ${percent(accuracy.value, 1)} (${percent(accuracy.low, 1)} – ${percent(accuracy.high, 1)})` },
        h("span", {}, name),
        h(
          "span",
          { class: "axis" },
          h("span", { class: `span v${index % 4}`, style: { left: `${place(accuracy.low)}%`, width: `${place(accuracy.high) - place(accuracy.low)}%` } }),
          h("span", { class: `dot v${index % 4}`, style: { left: `${place(accuracy.value)}%` } }),
        ),
        h("span", { class: "value" }, percent(accuracy.value, 1)),
      ),
    ),
    h("div", { class: "interval note" }, h("span", {}), h("span", { class: "row spread" }, h("span", {}, percent(low)), h("span", {}, percent(high))), h("span", {})),
  );
}

/** The difference over time in its band, with the line of no difference. */
function course(history) {
  const [wide, tall] = [640, 180];
  const times = history.map(({ time }) => Date.parse(time));
  const reach = Math.max(...history.map(({ interval }) => Math.max(Math.abs(interval.low), Math.abs(interval.high))));
  const span = times.at(-1) - times[0] || 1;
  const x = (index) => (wide * (times[index] - times[0])) / span;
  const y = (value) => (tall / 2) * (1 - value / reach);
  const at = (value, index) => `${x(index).toFixed(1)},${y(value).toFixed(1)}`;
  const band = [
    ...history.map(({ interval }, index) => at(interval.high, index)),
    ...history.map(({ interval }, index) => at(interval.low, index)).reverse(),
  ];
  const last = history.at(-1);
  return h(
    "figure",
    { class: "course" },
    h("div", { class: "ticks note", "aria-hidden": "true" }, [points(reach), "0", points(-reach)].map((tick) => h("span", {}, tick))),
    svg(
      "svg",
      {
        viewBox: `0 0 ${wide} ${tall}`,
        role: "img",
        preserveAspectRatio: "none",
        "aria-label": `${points(last.difference)} (${points(last.interval.low)} … ${points(last.interval.high)})`,
      },
      svg("polygon", { class: "band", points: band.join(" ") }),
      svg("line", { class: "zero", x1: 0, x2: wide, y1: y(0), y2: y(0) }),
      svg("polyline", { class: "line", points: history.map(({ difference }, index) => at(difference, index)).join(" ") }),
    ),
    h(
      "figcaption",
      { class: "row spread note" },
      h("span", {}, new Date(times[0]).toLocaleString(document.documentElement.lang)),
      h("span", {}, new Date(times.at(-1)).toLocaleString(document.documentElement.lang)),
    ),
  );
}
