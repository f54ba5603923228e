// @ts-check
// Keys of the pages: / goes to the search; j, k and r follow the links to other features.

/** @type {Record<string, string>} */
const LINKS = { j: "next", k: "previous", r: "random" };

export function followKeys() {
  document.addEventListener("keydown", (event) => {
    const writing = event.target instanceof HTMLInputElement;
    if (event.ctrlKey || event.metaKey || event.altKey || writing) return;
    if (event.key === "/") {
      const search = document.getElementById("search");
      if (search) event.preventDefault();
      search?.focus();
    }
    const link = document.getElementById(LINKS[event.key] ?? "");
    if (link instanceof HTMLAnchorElement) link.click();
  });
}
