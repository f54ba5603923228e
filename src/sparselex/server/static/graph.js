// @ts-check
// The page of a graph without leaving it: a node that is chosen or pinned changes the address and what is shown, and the
// picture stays where it was scrolled to. Without this script the same links load the same pages.

const main = /** @type {HTMLElement} */ (document.getElementById("main"));
let asked = 0;

/** Show another address of this graph. @param {string} address @param {boolean} keep whether the reader goes there */
async function show(address, keep) {
  const turn = ++asked;
  const answer = await fetch(address);
  if (!answer.ok) return void location.assign(address);
  const found = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = found.getElementById("main");
  if (turn !== asked || !fresh) return;
  const scrolled = main.querySelector(".picture"), across = scrolled?.scrollLeft ?? 0, down = scrolled?.scrollTop ?? 0;
  const focused = document.activeElement?.closest("[data-node]")?.getAttribute("data-node");
  const inside = document.activeElement?.closest("svg") !== null;
  main.replaceChildren(...fresh.childNodes);
  const footer = document.querySelector("footer"), other = found.querySelector("footer");
  if (footer && other) footer.replaceWith(other);
  const picture = main.querySelector(".picture");
  if (picture) [picture.scrollLeft, picture.scrollTop] = [across, down];
  if (keep) history.pushState(null, "", address);
  if (focused && inside) node(focused)?.focus({ preventScroll: true });
}

/** @param {string} id @returns {SVGAElement | null} */
function node(id) {
  return main.querySelector(`svg [data-node="${CSS.escape(id)}"]`);
}

main.addEventListener("click", (event) => {
  const link = /** @type {Element} */ (event.target).closest("a.node, a.look, a.pin");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  void show(/** @type {string} */ (link.getAttribute("href")), true);
});

addEventListener("popstate", () => void show(location.href, false));

// From node to node by where they stand: the nearest in the direction of the arrow.
const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

main.addEventListener("keydown", (event) => {
  const here = /** @type {Element} */ (event.target).closest("svg a.node");
  if (!here || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "p") return void show(/** @type {string} */ (here.getAttribute("data-pin")), true);
  const way = ways[/** @type {keyof typeof ways} */ (event.key)];
  if (!way) return;
  event.preventDefault();
  const middle = (/** @type {Element} */ one) => {
    const box = one.getBoundingClientRect();
    return [box.x + box.width / 2, box.y + box.height / 2];
  };
  const [x, y] = middle(here);
  let best = null, least = Infinity;
  for (const one of main.querySelectorAll("svg a.node")) {
    const [dx, dy] = [middle(one)[0] - x, middle(one)[1] - y];
    const along = dx * way[0] + dy * way[1], aside = Math.abs(dx * way[1]) + Math.abs(dy * way[0]);
    if (along > 1 && along + 3 * aside < least) [best, least] = [one, along + 3 * aside];
  }
  if (!best) return;
  here.setAttribute("tabindex", "-1");
  best.setAttribute("tabindex", "0");
  /** @type {SVGAElement} */ (best).focus();
});
