// @ts-check
// Keys of the pages: / goes to the search of the page or else of its run; j, k and r follow the links to other features;
// q shows activations as digits.

/** @type {Record<string, string>} */
const LINKS = { j: "next", k: "previous", r: "random" };

export function followKeys() {
  document.addEventListener("keydown", (event) => {
    const writing = event.target instanceof Element && event.target.matches("input, textarea, select");
    if (event.ctrlKey || event.metaKey || event.altKey || writing) return;
    if (event.key === "/") search(event);
    if (event.key === "q") document.getElementById("digits")?.click();
    const link = document.getElementById(LINKS[event.key] ?? "");
    if (link instanceof HTMLAnchorElement) link.click();
  });
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
