// The tab "Camera": frames of this browser's camera, the next when the reply is in; by one POST each where no WebSocket opens.

import { announce, h, show, svg } from "./dom.js";
import { colour, labelOf, nameOf, ordered, sentence } from "./emotions.js";
import { frame } from "./frame.js";
import { ask, Failure, photoForm, subject, theKey } from "./service.js";
import { describe, failed, loading } from "./states.js";
import { number, t } from "./words.js";

const SIDES = [640, 480, 360]; // longer side that is sent, pixels: it shrinks before the rate does
const SLOW_MS = 250;
const FAST_MS = 90;
const TIMELINE_S = 60;
const SMOOTHING_S = 0.4;
const WAIT_MS = 1000;
const GLIDE_MS = 60; // time constant with which a frame on the picture follows its face
const SAME = 0.3; // overlap of two boxes of one face, where no stream tracks it

const still = matchMedia("(prefers-reduced-motion: reduce)");

let root = null;
let session = null;

export function open(element) {
  root = element;
  if (session) live();
  else consent();
}

export function close() {
  stop();
}

// With another key, or without one, a stream begins anew.
document.addEventListener("key", () => {
  if (!session) return;
  session.way = undefined;
  session.socket?.close();
});

function consent() {
  const possible = Boolean(navigator.mediaDevices?.getUserMedia);
  show(
    root,
    h("h1", {}, t("camera.heading")),
    h("p", { class: "lead" }, possible ? t("camera.consent", { host: location.host }) : t("camera.insecure")),
    possible && h("button", { class: "button primary", id: "camera-start", onclick: start }, t("camera.start")),
  );
}

async function start() {
  show(root, loading(t("camera.opening")));
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, facingMode: "user" } });
  } catch (error) {
    const denied = ["NotAllowedError", "SecurityError"].includes(error.name);
    const text = t(denied ? "camera.denied" : "camera.missing");
    announce(text);
    show(
      root,
      h("h1", {}, t("camera.heading")),
      h("div", { class: "state problem", role: "alert" }, h("p", {}, text), h("button", { class: "button", onclick: start }, t("retry"))),
    );
    return;
  }
  if (!root || root.hidden) {
    for (const track of stream.getTracks()) track.stop();
    return;
  }
  const video = h("video", { playsinline: true, muted: true, "aria-label": t("camera.heading") });
  video.muted = true;
  video.srcObject = stream;
  session = { stream, video, canvas: h("canvas"), side: 0, times: [], waits: [], points: [], smoothed: null, faces: [], drawn: [], running: true };
  for (const track of stream.getTracks()) track.addEventListener("ended", stopped);
  await video.play().catch(() => {});
  if (!session) return;
  live();
  root.querySelector("#camera-stop").focus();
  glide(session);
  run(session);
}

function stop() {
  if (!session) return;
  session.running = false;
  session.socket?.close();
  for (const track of session.stream.getTracks()) track.stop();
  session = null;
}

function stopped() {
  stop();
  if (!root || root.hidden) return;
  consent();
  root.querySelector("#camera-start")?.focus();
}

function live() {
  const one = session;
  one.drawing = svg("svg", { "aria-hidden": "true" });
  one.status = h("p", { class: "status", role: "status" }, t(one.way === undefined ? "camera.connecting" : "camera.running"));
  one.figures = h("dl", { class: "figures-line" });
  one.now = h("p", { class: "now" }, t("camera.nobody"));
  one.line = h("div", { class: "timeline" });
  show(
    root,
    h("div", { class: "row spread" }, h("h1", {}, t("camera.heading")), h("button", { class: "button", id: "camera-stop", onclick: stopped }, t("camera.stop"))),
    h(
      "div",
      { class: "split" },
      h("div", { class: "stage mirrored" }, one.video, one.drawing),
      h("div", {}, one.status, one.now, one.figures, h("h2", {}, t("camera.timeline")), one.line),
    ),
  );
  draw(one);
}

/** One frame after the other. A frame that fails is told, and tried again a second later. */
async function run(one) {
  while (one.running) {
    if (document.hidden) {
      one.status.textContent = t("camera.paused");
      await new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
      continue;
    }
    if (!one.video.videoWidth) {
      await pause(50);
      continue;
    }
    const began = performance.now();
    try {
      if (one.way === undefined) one.way = await connect(one);
      const answer = await send(one);
      if (!one.running) return;
      if (!answer) continue;
      took(one, performance.now() - began);
      take(one, answer);
      one.status.textContent = t("camera.running");
    } catch (error) {
      if (!one.running) return;
      if (!(error instanceof Failure)) throw error;
      if (error.status === 401) {
        stop();
        show(root, h("h1", {}, t("camera.heading")), failed(error, start));
        return;
      }
      one.status.textContent = error.status === 0 ? t("camera.lost") : describe(error);
      one.faces = one.drawn = [];
      frames(one);
      // Who was gone may have a stream again, even where it came to a POST each meanwhile.
      if (error.status === 0) one.way = undefined;
      announce(one.status.textContent);
      await pause(1000 * (error.retryAfter ?? 0) || WAIT_MS);
    }
    // No more than 25 a second, however fast the service is.
    await pause(Math.max(0, 40 - (performance.now() - began)));
  }
}

const average = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function send(one) {
  const { videoWidth: width, videoHeight: height } = one.video;
  const scale = Math.min(1, SIDES[one.side] / Math.max(width, height));
  one.scale = scale;
  one.canvas.width = Math.round(width * scale);
  one.canvas.height = Math.round(height * scale);
  one.canvas.getContext("2d").drawImage(one.video, 0, 0, one.canvas.width, one.canvas.height);
  const blob = await new Promise((resolve) => one.canvas.toBlob(resolve, "image/jpeg", 0.7));
  if (one.way) return overSocket(one, blob);
  const response = await ask("v1/predict?max_faces=8", {
    method: "POST",
    body: photoForm(blob),
    headers: { "X-Subject-ID": subject },
  });
  return response.json();
}

/** An open stream, or null where the service, a proxy or a missing key does not let it through. */
function connect(one) {
  const url = new URL("v1/stream", location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return new Promise((resolve) => {
    let socket;
    try {
      socket = new WebSocket(url, "emotion.v1");
    } catch {
      resolve(null);
      return;
    }
    one.socket = socket;
    socket.addEventListener("open", () => {
      socket.send(JSON.stringify({ type: "configure", max_faces: 8, smoothing: true, subject, ...(theKey() && { key: theKey() }) }));
      resolve(socket);
    });
    // Before it is open: no stream here. Afterwards: whoever waits for a reply is told.
    socket.addEventListener("close", (event) => {
      resolve(null);
      if (one.way === socket) one.way = [1008, 1009].includes(event.code) ? null : undefined;
      one.lost?.(new Failure(0, { title: String(event.code) }));
    });
  });
}

/** The reply to one frame: a result, or null for one that was dropped. */
async function overSocket(one, blob) {
  const reply = await new Promise((resolve, reject) => {
    one.lost = reject;
    one.way.onmessage = ({ data }) => resolve(JSON.parse(data));
    one.way.send(blob);
  });
  if (reply.type === "problem") {
    if (reply.problem.status === 401) {
      one.way = null;
      return null;
    }
    throw new Failure(reply.problem.status, reply.problem);
  }
  return reply.type === "result" ? reply : null;
}

function took(one, ms) {
  one.waits = [...one.waits.slice(-19), ms];
  one.times = [...one.times.filter((time) => time > performance.now() - 3000), performance.now()];
  if (one.waits.length < 10) return;
  const mean = average(one.waits);
  const next = mean > SLOW_MS ? one.side + 1 : mean < FAST_MS ? one.side - 1 : one.side;
  if (next !== one.side && SIDES[next]) {
    one.side = next;
    one.waits = [];
  }
}

function take(one, answer) {
  one.faces = answer.faces.map((face) => ({ ...face, box: scaled(face.box, 1 / one.scale) }));
  const [largest] = one.faces;
  aim(one);
  const time = performance.now() / 1000;
  if (largest) {
    const keep = one.last ? Math.exp(-(time - one.last) / SMOOTHING_S) : 0;
    const before = one.smoothed ?? largest.probabilities;
    one.smoothed = largest.smoothed ?? Object.fromEntries(
      Object.entries(largest.probabilities).map(([name, value]) => [name, keep * (before[name] ?? 0) + (1 - keep) * value]),
    );
    one.last = time;
    one.points.push({ time, values: one.smoothed });
  } else {
    one.smoothed = null;
    one.last = null;
  }
  one.points = one.points.filter((point) => point.time > time - TIMELINE_S);
  draw(one);
}

const scaled = ({ x, y, width, height }, by) => ({ x: x * by, y: y * by, width: width * by, height: height * by });

function overlap(one, other) {
  const wide = Math.min(one.x + one.width, other.x + other.width) - Math.max(one.x, other.x);
  const tall = Math.min(one.y + one.height, other.y + other.height) - Math.max(one.y, other.y);
  if (wide <= 0 || tall <= 0) return 0;
  return (wide * tall) / (one.width * one.height + other.width * other.height - wide * tall);
}

/** Each face that was drawn before starts from there, for glide() to take it to where it is now. */
function aim(one) {
  const before = one.drawn;
  one.drawn = one.faces.map((face) => {
    const known = before.find((old) =>
      face.track === undefined ? overlap(old.box, face.box) > SAME : old.face.track === face.track,
    );
    return { face, box: known && !still.matches ? known.box : face.box };
  });
}

/** The video is smoother than the replies are frequent: between them frames go on to their faces. */
function glide(one) {
  let last = performance.now();
  const step = (now) => {
    if (!one.running) return;
    const part = 1 - Math.exp(-Math.max(0, now - last) / GLIDE_MS);
    last = now;
    const moving = one.drawn.filter(({ box, face }) => Object.keys(box).some((key) => Math.abs(face.box[key] - box[key]) > 0.5));
    for (const each of moving)
      each.box = Object.fromEntries(
        Object.entries(each.box).map(([key, value]) => [key, value + part * (each.face.box[key] - value)]),
      );
    if (moving.length) frames(one);
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
}

function frames(one) {
  const { videoWidth: width = 0, videoHeight: height = 0 } = one.video;
  one.drawing.setAttribute("viewBox", `0 0 ${width || 4} ${height || 3}`);
  const size = Math.max(width, height) / 26;
  one.drawing.replaceChildren(
    ...one.drawn.map(({ face, box: { x, y, width: wide, height: tall } }) => {
      // The picture is a mirror, the text is not.
      const box = { x: width - x - wide, y, width: wide, height: tall };
      return frame(box, labelOf(face), colour(face), { size, line: size / 6, round: size / 5, picture: { width, height } });
    }),
  );
}

function draw(one) {
  frames(one);
  const [largest] = one.faces;
  one.now.textContent = largest ? t("face.title", { number: 1, sentence: sentence(largest) }) : t("camera.nobody");
  announce(one.now.textContent);
  const wait = one.waits.length ? average(one.waits) : null;
  show(
    one.figures,
    [
      ["camera.rate", one.times.length > 1 ? number((one.times.length - 1) / ((one.times.at(-1) - one.times[0]) / 1000 || 1), 1) : "–"],
      ["camera.latency", wait === null ? "–" : number(wait)],
      ["camera.size", `${one.canvas.width} × ${one.canvas.height}`],
      ["camera.way", t(one.way ? "camera.way.socket" : "camera.way.post")],
    ].flatMap(([name, value]) => [h("dt", {}, t(name)), h("dd", {}, value)]),
  );
  show(one.line, timeline(one.points));
}

/** Stacked areas of the largest face's seven probabilities over the last minute. */
function timeline(points) {
  if (points.length < 2) return h("p", { class: "note" }, t("camera.timeline.empty"));
  const [wide, tall] = [600, 120];
  const end = points.at(-1).time;
  const x = (time) => wide * (1 - (end - time) / TIMELINE_S);
  const names = ordered(points[0].values).map(([name]) => name);
  const sums = points.map(() => 0);
  const areas = names.map((name) => {
    const low = points.map((point, index) => `${x(point.time).toFixed(1)},${(tall * (1 - sums[index])).toFixed(1)}`);
    points.forEach((point, index) => (sums[index] += point.values[name] ?? 0));
    const high = points.map((point, index) => `${x(point.time).toFixed(1)},${(tall * (1 - sums[index])).toFixed(1)}`);
    return svg("polygon", { class: `area e-${name}`, points: [...low, ...high.reverse()].join(" ") });
  });
  const mean = names.map((name) => [name, points.reduce((sum, point) => sum + (point.values[name] ?? 0), 0)]);
  const [most] = mean.sort(([, one], [, another]) => another - one)[0];
  return [
    svg(
      "svg",
      { viewBox: `0 0 ${wide} ${tall}`, role: "img", preserveAspectRatio: "none", "aria-label": t("camera.timeline.label", { emotion: nameOf(most) }) },
      areas,
    ),
    h("div", { class: "row spread note" }, h("span", {}, `−${TIMELINE_S} s`), h("span", {}, t("camera.now"))),
    h("ul", { class: "legend" }, names.map((name) => h("li", { class: `e-${name}` }, nameOf(name)))),
  ];
}
