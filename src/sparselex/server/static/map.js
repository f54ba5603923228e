// @ts-check
// The map of a run: moves, zooms, selects; the table beside it holds what it shows, and the address says all of it.
import { box, Picture, pixel, read } from "./map-picture.js";

const canvas = /** @type {HTMLCanvasElement} */ (document.getElementById("map"));
const pointed = /** @type {HTMLElement} */ (document.getElementById("pointed"));
const numbers = (/** @type {string | undefined} */ text) => (text ? text.split(",").map(Number) : []);
const asView = (/** @type {number[]} */ [x0, y0, x1, y1]) => ({ x0, y0, x1, y1 });
const given = canvas.dataset;
const whole = asView(numbers(given.whole)), nearest = new Set(numbers(given.nearest));
const places = [numbers(given.clusters), numbers(given.clusterX), numbers(given.clusterY)];

let view = asView(numbers(given.view));
let selection = given.selection ?? "";
let tool = "move";
let at = -1; // the point that is pointed at, by its place in the arrays
let focus = given.focus ? Number(given.focus) : -1;
/** @type {number[]} */
let drawn = []; // corners of what is being selected
/** @type {Picture} */
let picture;
/** @type {{ colours: Uint32Array, paper: number, faint: number, ink: string, line: string }} */
let style;

function readStyle() {
  const of = (/** @type {Element} */ one) => getComputedStyle(one);
  const colours = [...document.querySelectorAll("#legend .m")].map((one) => pixel(of(one).backgroundColor));
  while (colours.length < 8) colours.push(colours[colours.length - 1] ?? 0);
  const probe = document.body.appendChild(document.createElement("i"));
  const named = (/** @type {string} */ name) => ((probe.style.color = `var(${name})`), of(probe).color);
  const [ink, line, faint] = [named("--ink"), named("--link"), named("--line")];
  probe.remove();
  style = { colours: Uint32Array.from(colours), paper: pixel(of(canvas).backgroundColor), faint: pixel(faint), ink, line };
}

function draw() {
  const ratio = devicePixelRatio, size = Math.round(canvas.clientWidth * ratio);
  if (canvas.width !== size || canvas.height !== size) canvas.width = canvas.height = size;
  given.drawMs = picture.draw(view, style.colours, style.paper, style.faint).toFixed(1);
  const pen = picture.context, across = size / (view.x1 - view.x0), up = size / (view.y1 - view.y0);
  const x = (/** @type {number} */ one) => (one - view.x0) * across, y = (/** @type {number} */ one) => (view.y1 - one) * up;
  const ring = (/** @type {number} */ i, /** @type {number} */ radius, /** @type {number} */ width) => {
    pen.lineWidth = width * ratio;
    pen.beginPath();
    pen.arc(x(picture.points.x[i]), y(picture.points.y[i]), radius * ratio, 0, 7);
    pen.stroke();
  };
  pen.strokeStyle = pen.fillStyle = style.ink;
  if (given.shade === "cluster") {
    pen.font = `${12 * ratio}px system-ui, sans-serif`;
    pen.textAlign = "center";
    places[0].forEach((number, k) => {
      pen.strokeStyle = getComputedStyle(canvas).backgroundColor;
      pen.lineWidth = 3 * ratio;
      pen.strokeText(String(number), x(places[1][k]), y(places[2][k]));
      pen.fillText(String(number), x(places[1][k]), y(places[2][k]));
    });
  }
  pen.strokeStyle = style.ink;
  picture.points.latents.forEach((latent, i) => {
    if (nearest.has(latent)) ring(i, 7, 1.2);
    if (latent === focus || String(latent) === given.near) ring(i, 9, 2.4);
  });
  pen.strokeStyle = style.line;
  if (at >= 0) ring(at, 12, 2);
  const corners = drawn.length ? drawn : selection.includes(":") ? [] : numbers(selection);
  const outline = corners.length === 4 ? box(corners) : corners;
  if (outline.length < 4) return;
  pen.lineWidth = 1.5 * ratio;
  pen.setLineDash([5 * ratio, 4 * ratio]);
  pen.beginPath();
  for (let k = 0; k < outline.length; k += 2) pen.lineTo(x(outline[k]), y(outline[k + 1]));
  pen.closePath();
  pen.stroke();
  pen.setLineDash([]);
}

let waiting = 0;
function redraw() {
  if (!waiting) waiting = requestAnimationFrame(() => ((waiting = 0), draw()));
}

// The address says what is seen; the table is fetched as the server writes it for that address.
function address() {
  const now = new URLSearchParams(location.search);
  const fixed = (/** @type {number} */ one) => String(Number(one.toFixed(6)));
  const edges = { x0: fixed(view.x0), y0: fixed(view.y0), x1: fixed(view.x1), y1: fixed(view.y1) };
  for (const [name, value] of Object.entries(edges)) now.set(name, value);
  if (JSON.stringify(view) === JSON.stringify(whole) && !given.near) for (const name of Object.keys(edges)) now.delete(name);
  selection ? now.set("sel", selection) : now.delete("sel");
  focus >= 0 ? now.set("focus", String(focus)) : now.delete("focus");
  now.delete("page");
  return `${given.page}${now.size ? "?" : ""}${now}`;
}

let asked = 0;
async function refresh() {
  const here = address(), mine = ++asked;
  history.replaceState(null, "", here);
  const answer = await fetch(here).catch(() => null);
  if (!answer?.ok || mine !== asked) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const found = page.getElementById("looked-at"), own = document.getElementById("looked-at");
  if (mine === asked && found && own) own.replaceChildren(...document.adoptNode(found).childNodes);
}

let settling = 0;
function changed(/** @type {number} */ after = 0) {
  redraw();
  clearTimeout(settling);
  settling = setTimeout(refresh, after);
}

function zoom(/** @type {number} */ factor, x = (view.x0 + view.x1) / 2, y = (view.y0 + view.y1) / 2) {
  const wide = (view.x1 - view.x0) * factor, most = (whole.x1 - whole.x0) * 4;
  if (factor && (wide > most || wide < most / 1e5)) return;
  const to = (/** @type {number} */ one, /** @type {number} */ fixed) => fixed + (one - fixed) * factor;
  view = factor ? { x0: to(view.x0, x), y0: to(view.y0, y), x1: to(view.x1, x), y1: to(view.y1, y) } : { ...whole };
  changed(250);
}

function choose(/** @type {string} */ now) {
  selection = now;
  now.startsWith("cluster:") ? picture.selectCluster(Number(now.slice(8))) : picture.select(numbers(now));
  changed();
}

function open(/** @type {number} */ latent) {
  focus = latent;
  changed();
}

let telling = 0;
function point(/** @type {number} */ i) {
  if (i === at) return;
  at = i;
  redraw();
  clearTimeout(telling);
  if (i < 0) return void (pointed.textContent = "");
  telling = setTimeout(async () => {
    const answer = await fetch(`${given.latents}${picture.points.latents[i]}.json?${given.scored}`).catch(() => null);
    if (!answer?.ok || i !== at) return;
    const found = await answer.json(), one = found.score;
    const of = (/** @type {number | null} */ value) => (value === null ? "not made" : value.toFixed(3));
    const score = one ? ` · ${one.scorer}: ${one.metric.replaceAll("_", " ")} ${of(one.value)} (null ${of(one.null)}, n ${one.n})` : "";
    pointed.textContent = `${found.latent}  ${found.words || "not explained"}${score} · active on ${(100 * found.density).toPrecision(3)} %`;
  }, 80);
}

// The pointer
/** @type {{ x: number, y: number, view: typeof view, tool: string, moved: boolean } | null} */
let held = null;
const where = (/** @type {MouseEvent} */ event) => {
  const area = canvas.getBoundingClientRect();
  return {
    x: view.x0 + ((event.clientX - area.left) / area.width) * (view.x1 - view.x0),
    y: view.y1 - ((event.clientY - area.top) / area.height) * (view.y1 - view.y0),
  };
};
const under = (/** @type {MouseEvent} */ event) => {
  const { x, y } = where(event), i = picture.nearest(x, y), reach = (14 * (view.x1 - view.x0)) / canvas.clientWidth;
  return i >= 0 && Math.hypot(picture.points.x[i] - x, picture.points.y[i] - y) < reach ? i : -1;
};

function listen() {
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    held = { x: event.clientX, y: event.clientY, view, tool: event.shiftKey && tool === "move" ? "rectangle" : tool, moved: false };
    const { x, y } = where(event);
    if (held.tool !== "move") drawn = [x, y, x, y];
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!held) return point(under(event));
    held.moved ||= Math.hypot(event.clientX - held.x, event.clientY - held.y) > 3;
    const { x, y } = where(event);
    if (held.tool === "rectangle") drawn = [drawn[0], drawn[1], x, y];
    else if (held.tool === "lasso") drawn.push(x, y);
    else if (held.moved) {
      const dx = ((event.clientX - held.x) / canvas.clientWidth) * (view.x1 - view.x0);
      const dy = ((event.clientY - held.y) / canvas.clientHeight) * (view.y1 - view.y0);
      const from = held.view;
      view = { x0: from.x0 - dx, x1: from.x1 - dx, y0: from.y0 + dy, y1: from.y1 + dy };
    }
    redraw();
  });
  canvas.addEventListener("pointerup", (event) => {
    const was = held, corners = drawn;
    held = null;
    drawn = [];
    if (!was) return;
    if (!was.moved) {
      const i = under(event);
      if (i >= 0) open(picture.points.latents[i]);
      else redraw();
    } else if (was.tool === "move") changed();
    else choose(thinned(corners).map((one) => one.toFixed(5)).join(","));
  });
  canvas.addEventListener("pointercancel", () => ((held = null), (drawn = []), redraw()));
  canvas.addEventListener("pointerleave", () => held || point(-1));
  canvas.addEventListener("wheel", (event) => {
    if (document.activeElement !== canvas && !event.ctrlKey) return; // the page scrolls on
    event.preventDefault();
    const { x, y } = where(event);
    zoom(2 ** (Math.sign(event.deltaY) * 0.35), x, y);
  }, { passive: false });
  canvas.addEventListener("keydown", onKey);
  for (const button of document.querySelectorAll("[data-tool][type]"))
    button.addEventListener("click", () => {
      tool = given.tool = button.getAttribute("data-tool") ?? "move";
      for (const one of document.querySelectorAll("[data-tool][type]")) one.setAttribute("aria-pressed", String(one === button));
    });
  for (const button of document.querySelectorAll("[data-zoom]"))
    button.addEventListener("click", () => zoom(Number(button.getAttribute("data-zoom"))));
  // Other colours of the same view; a latent of the table opens in place.
  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element ? event.target.closest("a.shade, a.focus") : null;
    if (!(link instanceof HTMLAnchorElement) || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    if (link.matches(".focus")) return open(Number(link.dataset.latent));
    const now = new URL(address(), location.href);
    now.searchParams.set("color", link.dataset.shade ?? "density");
    location.assign(now);
  });
  new ResizeObserver(redraw).observe(canvas);
  const restyle = () => (readStyle(), redraw());
  new MutationObserver(restyle).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", restyle);
}

/** Corners of a lasso, no more than an address takes. @param {number[]} corners */
function thinned(corners) {
  const every = Math.ceil(corners.length / 2 / 60);
  const kept = corners.filter((_, k) => (k >> 1) % every === 0);
  return kept.length === 4 && corners.length > 4 ? corners.slice(0, 6) : kept;
}

/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

/** @param {KeyboardEvent} event */
function onKey(event) {
  const along = ARROWS[event.key];
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (along) {
    const { x, y } = picture.points;
    const next = at < 0 ? picture.nearest((view.x0 + view.x1) / 2, (view.y0 + view.y1) / 2) : picture.nearest(x[at], y[at], along, at);
    if (next >= 0) follow(next);
  } else if (event.key === "+" || event.key === "=") zoom(2 / 3);
  else if (event.key === "-") zoom(1.5);
  else if (event.key === "0") zoom(0);
  else if (event.key === "Enter" && at >= 0) open(picture.points.latents[at]);
  else if (event.key === "Escape" && selection) choose("");
  else return;
  event.preventDefault();
}

/** Points at a place, and moves the view where that lies outside. @param {number} i */
function follow(i) {
  const x = picture.points.x[i], y = picture.points.y[i], half = (view.x1 - view.x0) / 2;
  point(i);
  if (x > view.x0 && x < view.x1 && y > view.y0 && y < view.y1) return;
  view = { x0: x - half, x1: x + half, y0: y - half, y1: y + half };
  changed(250);
}

const answer = await fetch(given.points ?? "");
if (answer.ok) {
  picture = new Picture(canvas, read(await answer.arrayBuffer()));
  readStyle();
  if (selection.startsWith("cluster:")) picture.selectCluster(Number(selection.slice(8)));
  else picture.select(numbers(selection));
  draw();
  listen();
  canvas.dataset.ready = "true";
} else pointed.textContent = "The places of this map cannot be read: reload the page to see why.";
