// The tab "Photo": a picture in, frames around the faces and seven bars each.

import { announce, h, show, svg } from "./dom.js";
import { bars, colour, confidenceOf, isUnclear, labelOf, nameOf, ordered, sentence, SMALL_FACE } from "./emotions.js";
import { frame } from "./frame.js";
import { codeBlocks, snippets } from "./code.js";
import { ask, askJson, hasKey, offers, photoForm, subject } from "./service.js";
import { failed, loading } from "./states.js";
import { number, percent, t } from "./words.js";

const SAMPLES = ["two", "group", "one", "tilted", "dark"];
const LONGER_SIDE = 1600; // pixels that are sent; more shows the service no face that it could not see
const OPEN_AT_ONCE = 3;

let root = null;
let turn = 0;
let photo = null; // {blob, url, seen}
let answer = null;
let other = null;
let chosen = 0;
let model = "";
let compared = "";
let rotated = false;
let explained = null; // what the model looked at, by face
let known = []; // what /models offers, as {value, text}

export function open(element) {
  root = element;
  if (answer) result();
  else welcome();
}

document.addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files ?? [])][0];
  if (file && root && !root.hidden) take(file);
});

function welcome() {
  const input = (extra, text) => {
    const field = h("input", { type: "file", accept: "image/*,.heic,.heif", class: "offscreen", ...extra });
    field.addEventListener("change", () => field.files[0] && take(field.files[0]));
    return h("label", { class: "button primary" }, field, text);
  };
  const drop = h(
    "div",
    { class: "drop" },
    h("p", {}, t("photo.drop")),
    h(
      "div",
      { class: "row centre" },
      input({ id: "file" }, t("photo.choose")),
      matchMedia("(pointer: coarse)").matches && input({ capture: "user" }, t("photo.take")),
    ),
    h("p", { class: "note" }, t("photo.privacy", { host: location.host })),
  );
  droppable(drop);
  show(
    root,
    h("h1", {}, t("photo.heading")),
    h("p", { class: "lead" }, t("photo.lead")),
    h("h2", {}, t("photo.try")),
    h("div", { class: "samples" }, SAMPLES.map(sample)),
    h("h2", {}, t("photo.or")),
    drop,
  );
}

const sample = (name) =>
  h(
    "button",
    {
      class: "sample",
      onclick: async () => {
        try {
          take(await (await ask(`assets/${name}.jpg`)).blob());
        } catch (error) {
          trouble(failed(error, welcome));
        }
      },
    },
    h("img", { src: `assets/${name}.jpg`, alt: "", loading: "lazy" }),
    h("span", {}, t(`sample.${name}`)),
  );

function droppable(element) {
  for (const kind of ["dragover", "dragleave", "drop"])
    element.addEventListener(kind, (event) => {
      event.preventDefault();
      element.classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
    });
}

/** Shrinks the picture in the browser. What it cannot decode goes to the service as it is. */
async function shrunk(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    return { blob: file, url: null };
  }
  const scale = LONGER_SIDE / Math.max(bitmap.width, bitmap.height);
  if (scale >= 1) return { blob: file, url: URL.createObjectURL(file) };
  const canvas = h("canvas", { width: Math.round(bitmap.width * scale), height: Math.round(bitmap.height * scale) });
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.9));
  return { blob, url: URL.createObjectURL(blob) };
}

async function take(file) {
  const mine = ++turn;
  rotated = false;
  show(root, loading(t("photo.looking")));
  const next = await shrunk(file);
  if (mine !== turn) return;
  if (photo?.url) URL.revokeObjectURL(photo.url);
  photo = next;
  await look();
}

function query(choice) {
  const parameters = new URLSearchParams(choice);
  if (rotated) parameters.set("rotate", "auto");
  const text = parameters.toString();
  return text ? `?${text}` : "";
}

const predict = (choice) =>
  askJson(`v1/predict${query(choice)}`, {
    method: "POST",
    body: photoForm(photo.blob),
    headers: { "X-Subject-ID": subject },
  });

const trouble = (...content) => show(root, h("h1", {}, t("photo.heading")), content);

async function look() {
  const mine = ++turn;
  show(root, loading(t("photo.looking")));
  try {
    const [one, second, offered] = await Promise.all([predict(model), compared ? predict(compared) : null, models()]);
    if (mine !== turn) return;
    [answer, other, chosen, explained] = [one, second, 0, null];
    known = offered;
    result();
    announce(headline());
    // What was pressed is gone. Keyboards and screen readers go on where the answer begins.
    if (document.activeElement === document.body) root.querySelector("h1").focus();
  } catch (error) {
    if (mine !== turn) return;
    answer = null;
    trouble(failed(error, look), h("p", {}, another()));
  }
}

async function models() {
  try {
    const { models: all } = await askJson("v1/models");
    return all.flatMap(({ name, versions }) =>
      versions
        .filter(({ state }) => state === "AVAILABLE")
        .map(({ version, labels }) => ({
          value: `model=${encodeURIComponent(name)}&version=${version}`,
          text: [`${name} ${version}`, ...labels.map((label) => `(${label})`)].join(" "),
        })),
    );
  } catch {
    // The answer is there; without the list there is nothing to pick from.
    return [];
  }
}

const headline = () => {
  const count = answer.faces.length;
  return count < 2 ? t(`photo.count.${count}`) : t("photo.count.n", { count });
};

const another = () =>
  h(
    "button",
    {
      class: "button",
      onclick: () => {
        answer = null;
        turn += 1;
        welcome();
      },
    },
    t("photo.another"),
  );

function picker(label, value, empty, change) {
  const select = h(
    "select",
    { onchange: () => change(select.value) },
    h("option", { value: "" }, empty),
    known.map((one) => h("option", { value: one.value }, one.text)),
  );
  select.value = value;
  return h("label", { class: "field" }, h("span", {}, label), select);
}

function result() {
  const { faces, image, model: by, timing_ms: timing } = answer;
  const list = h("div", { class: "faces" });
  const stage = h("div", { class: "stage" });
  const choose = (index) => {
    chosen = index;
    show(stage, picture(image, faces, choose));
    show(list, faces.map((face, one) => card(face, one, choose)));
  };
  choose(chosen);
  const agree = other && faces.filter((face, index) => other.faces[index]?.emotion === face.emotion).length;
  show(
    root,
    h(
      "div",
      { class: "row spread" },
      h(
        "div",
        {},
        h("h1", { tabindex: "-1" }, headline()),
        h(
          "p",
          { class: "note" },
          t("photo.by", { model: by.name, version: by.version, ms: number(timing.total) }),
        ),
      ),
      another(),
    ),
    h(
      "div",
      { class: "row tools" },
      picker(t("photo.model"), model, t("photo.default"), (value) => {
        model = value;
        look();
      }),
      picker(t("photo.compare"), compared, t("photo.nothing"), (value) => {
        compared = value;
        look();
      }),
      faces.length > 0 && offers("v1/explain") && explainer(),
    ),
    explained && h("p", { class: "note" }, t("photo.explained")),
    !faces.length && nobody(),
    other &&
      h(
        "p",
        {},
        t("photo.compared", {
          one: `${by.name} ${by.version}`,
          two: `${other.model.name} ${other.model.version}`,
        }),
        " ",
        t("photo.agree", { same: agree, all: faces.length }),
      ),
    h("div", { class: "split" }, stage, h("div", {}, faces.length > OPEN_AT_ONCE && h("p", { class: "note" }, t("photo.many")), list)),
    h("h2", {}, t("photo.code")),
    codeBlocks({ ...snippets(query(model)), [t("photo.json")]: JSON.stringify(answer, null, 2) }, t("photo.code")),
  );
}

function explainer() {
  const button = h(
    "button",
    {
      class: "button",
      "aria-pressed": String(Boolean(explained)),
      onclick: async () => {
        if (explained) {
          explained = null;
          result();
          return;
        }
        const mine = turn;
        button.textContent = t("photo.explaining");
        button.disabled = true;
        try {
          // The version that answered, not the one that a split would choose now.
          const { name, version } = answer.model;
          const choice = `model=${encodeURIComponent(name)}&version=${version}`;
          const found = await askJson(`v1/explain${query(choice)}`, { method: "POST", body: photoForm(photo.blob) });
          if (mine !== turn) return;
          explained = found.faces;
          result();
        } catch (error) {
          if (mine === turn) button.replaceWith(failed(error));
        }
      },
    },
    t("photo.explain"),
  );
  return button;
}

const nobody = () =>
  h(
    "div",
    { class: "state" },
    h("p", {}, t("photo.none", { pixels: answer.detection?.min_face ?? SMALL_FACE })),
    !rotated &&
      h(
        "button",
        {
          class: "button",
          onclick: () => {
            rotated = true;
            look();
          },
        },
        t("photo.rotate"),
      ),
  );

/** The photo under a drawing in its own pixels: a frame and a name for each face. */
function picture(image, faces, choose) {
  if (!photo.url) return h("p", { class: "state" }, t("photo.unseen"));
  const size = Math.max(image.width, image.height) / 32;
  const drawing = svg(
    "svg",
    { viewBox: `0 0 ${image.width} ${image.height}`, "aria-hidden": "true" },
    (explained ?? []).map(({ heatmap, heatmap_box: place }) =>
      svg("image", { ...place, href: `data:image/png;base64,${heatmap}`, preserveAspectRatio: "none" }),
    ),
    faces.map((face, index) => {
      const group = frame(face.box, `${index + 1} ${labelOf(face)}`, `${colour(face)}${index === chosen ? " chosen" : ""}`, {
        size: Math.min(size, Math.max(size / 2, face.box.width / 5)),
        line: size / (index === chosen ? 4 : 7),
        round: size / 6,
        picture: image,
      });
      group.addEventListener("click", () => choose(index));
      return group;
    }),
  );
  return [h("img", { src: photo.url, alt: t("photo.picture") }), drawing];
}

function card(face, index, choose) {
  const opened = answer.faces.length <= OPEN_AT_ONCE || index === chosen;
  const figures = h(
    "div",
    { class: "figures", id: `figures-${index}`, hidden: !opened },
    bars(face.probabilities, other?.faces[index]?.probabilities),
    Math.min(face.box.width, face.box.height) < SMALL_FACE &&
      h("p", { class: "note" }, t("photo.small", { pixels: Math.min(face.box.width, face.box.height) })),
    answer.experiment !== undefined && hasKey() && offers("v1/feedback") && feedback(face, index),
  );
  const title = t("face.title", { number: index + 1, sentence: sentence(face) });
  return h(
    "article",
    { class: `card ${colour(face)}${index === chosen ? " chosen" : ""}` },
    h(
      "button",
      {
        class: "face",
        "aria-expanded": String(opened),
        "aria-controls": `figures-${index}`,
        onclick: () => {
          choose(index);
          root.querySelectorAll(".face")[index]?.focus();
        },
      },
      h("span", {}, title),
      h("strong", {}, isUnclear(face) ? "?" : percent(confidenceOf(face))),
    ),
    figures,
  );
}

function feedback(face, index) {
  const place = h("div", { class: "row feedback" });
  const send = async (body) => {
    try {
      await ask("v1/feedback", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ prediction_id: answer.id, face: index, ...body }),
      });
      show(place, h("p", { role: "status" }, t("feedback.thanks")));
    } catch (error) {
      show(place, failed(error));
    }
  };
  const select = h(
    "select",
    { "aria-label": t("feedback.was"), onchange: () => select.value && send({ emotion: select.value }) },
    h("option", { value: "" }, t("feedback.was")),
    ordered(face.probabilities).map(([name]) => h("option", { value: name }, nameOf(name))),
  );
  show(
    place,
    h("span", {}, t("feedback.ask")),
    h("button", { class: "button small", onclick: () => send({ correct: true }) }, t("feedback.right")),
    select,
  );
  return place;
}
