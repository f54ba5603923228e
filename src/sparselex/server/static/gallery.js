// @ts-check
// A whole dictionary in one file: the search narrows the list, and an address that ends in #feature-17 shows that one.
const search = /** @type {HTMLInputElement} */ (document.getElementById("search"));
const rows = /** @type {HTMLTableRowElement[]} */ ([...(document.getElementById("rows")?.children ?? [])]);
const texts = rows.map((row) => (row.textContent ?? "").toLowerCase());
const found = /** @type {HTMLElement} */ (document.getElementById("found"));
const shown = /** @type {HTMLElement} */ (document.getElementById("shown"));

function narrow() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let n = 0;
  rows.forEach((row, at) => {
    row.hidden = !words.every((word) => texts[at].includes(word));
    n += row.hidden ? 0 : 1;
  });
  found.textContent = `${n.toLocaleString("en")} of ${rows.length.toLocaleString("en")} features`;
}

function show() {
  const latent = /^#feature-(\d+)$/.exec(location.hash)?.[1];
  const template = latent && document.querySelector(`template[data-feature="${latent}"]`);
  shown.replaceChildren(...(template instanceof HTMLTemplateElement ? [template.content.cloneNode(true)] : []));
  if (shown.firstElementChild) {
    shown.focus({ preventScroll: true });
    shown.scrollIntoView();
  }
}

search.addEventListener("input", narrow);
document.getElementById("random")?.addEventListener("click", () => {
  const there = rows.filter((row) => !row.hidden);
  const link = there[Math.floor(Math.random() * there.length)]?.querySelector("a");
  if (link) location.hash = link.hash;
});
addEventListener("hashchange", show);
show();
