// The frame around a face with its name on it, in the pixels of the picture that it lies over.

import { svg } from "./dom.js";

const WIDE = 0.62; // of a letter, in parts of its height: SVG measures no text before it is drawn

/** box: {x, y, width, height}; size: height of the letters; line: width of the frame's line; picture: {width, height}. */
export function frame({ x, y, width, height }, text, classes, { size, line, round, picture }) {
  const long = size * WIDE * text.length + size * 0.6;
  const left = Math.max(0, Math.min(x, picture.width - long));
  const top = y > size * 1.5 ? y - size * 1.5 : Math.min(y + height, picture.height - size * 1.5);
  return svg(
    "g",
    { class: `frame ${classes}` },
    svg("rect", { x, y, width, height, rx: round, "stroke-width": line, fill: "transparent" }),
    svg("rect", { class: "tag", x: left, y: top, width: long, height: size * 1.5, rx: size / 5 }),
    svg("text", { x: left + size * 0.3, y: top + size * 1.08, "font-size": size }, document.createTextNode(text)),
  );
}
