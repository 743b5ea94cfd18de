// The service: what it offers, requests, problems, and the key, which stays in this module's memory alone.

import { byId } from "./dom.js";

/** RFC 9457, or a connection that failed (status 0). */
export class Failure extends Error {
  constructor(status, problem, retryAfter = null) {
    super(problem.detail ?? problem.title ?? "");
    this.status = status;
    this.problem = problem;
    this.retryAfter = retryAfter;
  }
}

let key = null;
let document_ = null;
let asking = null;

export const hasKey = () => key !== null;
export const theKey = () => key;

/** A stream or a photo of one person gets one variant; nobody can tell who it is. */
export const subject = [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16)).join("");

/** The OpenAPI document, fetched once. Everything that it does not name is hidden. */
export async function describe() {
  if (document_) return document_;
  const response = await fetch("openapi.json").catch(() => null);
  if (!response?.ok) throw new Failure(response?.status ?? 0, { title: "openapi.json" });
  document_ = await response.json();
  return document_;
}

const operation = (path, method) => document_?.paths?.[`/${path}`]?.[method.toLowerCase()];
export const offers = (path, method = "POST") => Boolean(operation(path, method));

/** The headers that may carry the key, likeliest first, as the document has them for this operation. */
function keyHeaders(path, method) {
  const template = Object.keys(document_?.paths ?? {}).find((known) =>
    new RegExp(`^${known.replace(/\{[^}]+\}/g, "[^/]+")}$`).test(`/${path}`),
  );
  const named = document_?.paths?.[template]?.[method.toLowerCase()]?.security?.flatMap(Object.keys);
  const schemes = document_?.components?.securitySchemes ?? {};
  const headers = (named?.length ? named : Object.keys(schemes))
    .map((name) => schemes[name])
    .map((scheme) => {
      if (scheme?.type === "apiKey" && scheme.in === "header") return [scheme.name, key];
      if (scheme?.type === "http" && scheme.scheme === "bearer") return ["Authorization", `Bearer ${key}`];
      return null;
    })
    .filter(Boolean);
  return headers.length ? headers : [["X-Admin-Key", key]];
}

async function once(path, options, header) {
  const headers = new Headers(options.headers);
  if (header) headers.set(...header);
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure(0, { title: error.message });
  }
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({ title: response.statusText }));
  throw new Failure(response.status, problem, Number(response.headers.get("Retry-After")) || null);
}

/**
 * A request. On 401 the dialog asks for a key, and the request is sent again.
 *
 * Throws Failure: also on 401, where the dialog was closed without a key.
 */
export async function ask(path, options = {}) {
  for (;;) {
    const bare = path.split("?")[0];
    let failure = null;
    for (const header of key === null ? [null] : keyHeaders(bare, options.method ?? "GET")) {
      try {
        return await once(path, options, header);
      } catch (error) {
        if (!(error instanceof Failure) || error.status !== 401) throw error;
        failure = error;
      }
    }
    if (!(await askForKey(key !== null))) throw failure;
  }
}

export const askJson = async (path, options) => (await ask(path, options)).json();

export const photoForm = (photo, field = "file") => {
  const form = new FormData();
  form.append(field, photo, "photo.jpg");
  return form;
};

/** Whether there is a key afterwards. Two requests at once ask once. */
export function askForKey(wrong = false) {
  asking ??= new Promise((resolve) => {
    const dialog = byId("key-dialog");
    byId("key-wrong").hidden = !wrong;
    byId("key").value = "";
    dialog.returnValue = "";
    dialog.addEventListener(
      "close",
      () => {
        asking = null;
        const given = byId("key").value;
        byId("key").value = "";
        if (dialog.returnValue === "ok" && given) key = given;
        document.dispatchEvent(new Event("key"));
        resolve(dialog.returnValue === "ok" && Boolean(given));
      },
      { once: true },
    );
    dialog.showModal();
  });
  return asking;
}

export function forgetKey() {
  key = null;
  document.dispatchEvent(new Event("key"));
}
