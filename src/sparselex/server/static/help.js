// @ts-check
// ? shows every key of the page; c copies its address; g and a letter go to a place. What a page itself has is said in
// its foot.
import { isWriting } from "./writing.js";

const EVERYWHERE = [
  ["?", "these keys"],
  ["c", "copy the address"],
  ["g h", "home"],
  ["g f", "features"],
  ["g t", "text"],
  ["g m", "map"],
  ["Esc", "close"],
];

/** Ends of the addresses that g leads to, by the letter behind it. @type {Record<string, string>} */
const PLACES = { f: "/features", t: "/text", m: "/map" };

export function showHelp() {
  let waits = false;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isWriting(event)) return;
    const goes = waits;
    waits = !goes && event.key === "g";
    if (goes) return go(event.key);
    if (event.key === "?") dialog().showModal();
    if (event.key === "c") navigator.clipboard?.writeText(location.href);
  });
}

/** @param {string} key */
function go(key) {
  const link = key === "h" ? document.querySelector(".brand") : document.querySelector(`.bar nav a[href$='${PLACES[key] ?? "\0"}']`);
  if (link instanceof HTMLAnchorElement) location.assign(link.href);
}

/** The dialog, made when it is first asked for. */
function dialog() {
  const there = document.getElementById("help");
  if (there instanceof HTMLDialogElement) return there;
  const made = document.body.appendChild(document.createElement("dialog"));
  made.id = "help";
  made.setAttribute("aria-labelledby", "help-title");
  const title = made.appendChild(document.createElement("h2"));
  title.id = "help-title";
  title.textContent = "Keys";
  const list = made.appendChild(document.createElement("dl"));
  for (const [key, words] of [...ofThePage(), ...EVERYWHERE]) {
    list.appendChild(document.createElement("dt")).append(...key.split(" ").map(asKey));
    list.appendChild(document.createElement("dd")).textContent = words;
  }
  const close = made.appendChild(document.createElement("button"));
  close.textContent = "Close";
  close.addEventListener("click", () => made.close());
  return made;
}

/** Keys that the foot of the page names, with the words behind them. @returns {[string, string][]} */
function ofThePage() {
  /** @type {[string, string][]} */
  const found = [];
  let keys = "";
  for (const node of document.querySelector(".keys")?.childNodes ?? []) {
    if (node.nodeName === "KBD") keys = `${keys} ${node.textContent}`.trim();
    const words = node.nodeName === "KBD" ? "" : (node.textContent ?? "").replace("·", "").trim();
    if (keys && words && keys !== "?") found.push([keys, words]);
    if (words) keys = "";
  }
  return found;
}

/** @param {string} key */
function asKey(key) {
  const made = document.createElement("kbd");
  made.textContent = key;
  return made;
}
