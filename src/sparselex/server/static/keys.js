// @ts-check
// Keys of the pages: / goes to the search of the page or else of its run; j, k and r follow the links to other features;
// q shows activations as digits.
import { isWriting } from "./writing.js";

/** @type {Record<string, string>} */
const LINKS = { j: "next", k: "previous", r: "random" };

export function followKeys() {
  followList();
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isWriting(event)) return;
    if (event.key === "/") search(event);
    if (event.key === "q") document.getElementById("digits")?.click();
    const link = document.getElementById(LINKS[event.key] ?? "");
    if (link instanceof HTMLAnchorElement) link.click();
  });
}

// A feature that is opened from a list knows the list: previous and next then walk it.
function followList() {
  if (!location.pathname.endsWith("/features")) return;
  const asked = encodeURIComponent(location.search.slice(1) || "order=desc");
  for (const link of document.querySelectorAll("main table a")) {
    if (link instanceof HTMLAnchorElement && /\/features\/\d+$/.test(link.href)) link.href += `?from=${asked}`;
  }
}

/** @param {KeyboardEvent} event */
function search(event) {
  const field = document.getElementById("search");
  const list = document.querySelector(".bar nav a[href$='/features']");
  if (field || list) event.preventDefault();
  field?.focus();
  // A browser puts the focus where the fragment of an address leads.
  if (!field && list instanceof HTMLAnchorElement) location.assign(`${list.href}#search`);
}
