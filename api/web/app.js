// The page: tabs, language, colours, the key. Each tab is a module with open() and, where it has something to stop, close().

import * as camera from "./camera.js";
import * as experiments from "./experiments.js";
import * as photo from "./photo.js";
import * as reference from "./reference.js";
import { byId, copy, h, show } from "./dom.js";
import { askForKey, describe, forgetKey, hasKey } from "./service.js";
import { failed, loading } from "./states.js";
import { languages, speak, t } from "./words.js";

const parts = { photo, camera, experiments, api: reference };
const tabs = Object.keys(parts).map((name) => byId(`tab-${name}`));
let opened = null;

// Without cookies and storage, as some browsers are set, the choice lasts as long as the page.
const remembered = (name) => {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
};
const remember = (name, value) => {
  try {
    localStorage.setItem(name, value);
  } catch {
    // As above.
  }
};

function open(name) {
  if (opened === name) return;
  if (opened) parts[opened].close?.();
  opened = name;
  for (const tab of tabs) {
    const mine = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", String(mine));
    tab.tabIndex = mine ? 0 : -1;
    byId(tab.getAttribute("aria-controls")).hidden = !mine;
  }
  parts[name].open(byId(name));
}

const wanted = () => {
  const name = location.hash.slice(1);
  return Object.hasOwn(parts, name) ? name : "photo";
};

for (const tab of tabs) {
  tab.addEventListener("click", () => {
    history.replaceState(null, "", `#${tab.getAttribute("aria-controls")}`);
    open(wanted());
  });
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, Home: -tabs.indexOf(tab), End: tabs.length - 1 - tabs.indexOf(tab) }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
    next.focus();
    next.click();
  });
}
addEventListener("hashchange", () => location.hash !== "#main" && open(wanted()));

const language = byId("language");
show(language, ...Object.entries(languages).map(([code, name]) => h("option", { value: code, lang: code }, name)));
language.addEventListener("change", () => {
  remember("language", language.value);
  speak(language.value);
});

const theme = byId("theme");
const paint = (value) => {
  theme.value = value;
  if (value) document.documentElement.dataset.theme = value;
  else delete document.documentElement.dataset.theme;
};
theme.addEventListener("change", () => {
  remember("theme", theme.value);
  paint(theme.value);
});

const keyButton = byId("key-button");
keyButton.addEventListener("click", () => (hasKey() ? forgetKey() : askForKey()));
byId("key-cancel").addEventListener("click", () => byId("key-dialog").close("cancel"));
const nameKeyButton = () => {
  keyButton.dataset.t = hasKey() ? "key.forget" : "key.set";
  keyButton.textContent = t(keyButton.dataset.t);
};
document.addEventListener("key", nameKeyButton);

for (const button of document.querySelectorAll("[data-copy]"))
  button.addEventListener("click", () => copy(byId(button.dataset.copy).textContent, button, t("copied")));

async function start() {
  const first = byId(wanted());
  first.hidden = false;
  show(first, loading());
  try {
    await describe();
  } catch (error) {
    show(first, failed(error, start));
    return;
  }
  document.addEventListener("language", () => parts[opened].open(byId(opened)));
  opened = null;
  open(wanted());
}

paint(["light", "dark"].includes(remembered("theme")) ? remembered("theme") : "");
language.value = remembered("language") ?? (navigator.language.startsWith("vi") ? "vi" : "en");
speak(language.value);
start();
