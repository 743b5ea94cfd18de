// How emotions are named, ordered, coloured and worded. "Looks happy", never "is happy".

import { number, percent, t } from "./words.js";
import { h } from "./dom.js";

/** The same order in every chart, whatever a face shows. */
const ORDER = ["happy", "surprise", "neutral", "sad", "fear", "disgust", "angry"];

/** Below it a face is called unclear, unless the service says by itself which faces are. */
const UNCLEAR_BELOW = 0.5;

export const SMALL_FACE = 40; // pixels of the picture that was sent; half of it is guessed by the network

export const ordered = (probabilities) => {
  const place = (name) => (ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.length);
  return Object.entries(probabilities).sort(([one], [other]) => place(one) - place(other));
};

export const nameOf = (emotion) => (ORDER.includes(emotion) ? t(`emotion.${emotion}`) : emotion);
export const colourOf = (emotion) => (ORDER.includes(emotion) ? `e-${emotion}` : "e-other");
export const isUnclear = (face) => face.unclear ?? confidenceOf(face) < UNCLEAR_BELOW;
export const confidenceOf = (face) => face.confidence ?? (face.smoothed ?? face.probabilities)[face.emotion];
export const labelOf = (face) => (isUnclear(face) ? t("unclear") : nameOf(face.emotion));
export const colour = (face) => (isUnclear(face) ? "e-other" : colourOf(face.emotion));
export const sentence = (face) =>
  isUnclear(face)
    ? t("face.unclear", { emotion: nameOf(face.emotion) })
    : t("face.looks", { emotion: nameOf(face.emotion) });

/** Seven bars. `other`: probabilities of another version, whose difference is drawn. */
export function bars(probabilities, other = null) {
  return h(
    "div",
    { class: "bars" },
    ordered(probabilities).map(([name, value]) => {
      const difference = other ? (other[name] ?? 0) - value : 0;
      const text = other ? `${percent(value)} → ${percent(other[name] ?? 0)}` : percent(value);
      return h(
        "div",
        { class: `bar ${colourOf(name)}`, role: "img", "aria-label": `${nameOf(name)}: ${text}` },
        h("span", { class: "bar-name" }, nameOf(name)),
        h(
          "span",
          { class: "bar-track" },
          h("span", { class: "bar-fill", style: { width: `${100 * value}%` } }),
          other &&
            h("span", {
              class: difference < 0 ? "bar-less" : "bar-more",
              style: {
                left: `${100 * Math.min(value, value + difference)}%`,
                width: `${100 * Math.abs(difference)}%`,
              },
            }),
        ),
        h("span", { class: "bar-value" }, other ? `${difference < 0 ? "−" : "+"}${number(100 * Math.abs(difference))}` : text),
      );
    }),
  );
}
