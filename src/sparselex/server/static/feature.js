// @ts-check
// The feature page: tabs, ranges, bars and forms fetch the page they lead to and put its parts in place, so that nothing
// jumps; the address follows, and without this they are plain links and forms.
import { markExamples, showDigits } from "./examples.js";

const WAIT_MS = 120; // while the slider moves

/** @type {AbortController | undefined} */
let running;

/**
 * @param {string} address
 * @param {{ parts?: string, remember?: "push" | "replace" | "" }} [options]
 */
async function bring(address, { parts = "[data-part]", remember = "push" } = {}) {
  running?.abort();
  const mine = (running = new AbortController());
  try {
    const answer = await fetch(address, { signal: mine.signal });
    if (!answer.ok) throw new Error(String(answer.status));
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (remember === "push") history.pushState(null, "", address);
    if (remember === "replace") history.replaceState(null, "", address);
    const focused = document.activeElement?.id ?? "";
    for (const part of document.querySelectorAll(parts)) {
      const found = page.getElementById(part.id);
      if (!found) continue;
      const fresh = document.adoptNode(found);
      // A shorter part would let the window scroll up under the reader's hand.
      fresh.style.minHeight = `${Math.min(part.getBoundingClientRect().height, innerHeight)}px`;
      part.replaceWith(fresh);
    }
    const twin = page.querySelector("footer a");
    document.querySelector("footer a")?.replaceWith(...(twin ? [document.adoptNode(twin)] : []));
    if (focused && document.activeElement === document.body) document.getElementById(focused)?.focus({ preventScroll: true });
    markExamples();
    showDigits();
  } catch (error) {
    if (!mine.signal.aborted) location.assign(address);
  }
}

/** @param {HTMLFormElement} form */
const asked = (form) => {
  const words = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (typeof value === "string" && value) words.set(name, value);
  return `${location.pathname}?${words}`;
};

document.addEventListener("click", (event) => {
  const link = event.target instanceof Element ? event.target.closest("#examples a, #activity a") : null;
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  const written = link.getAttribute("href") ?? "";
  const address = new URL(written, location.href);
  if (address.pathname !== location.pathname) return;
  event.preventDefault();
  bring(address.pathname + address.search);
});

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!(form instanceof HTMLFormElement) || !form.matches("[data-swap]")) return;
  event.preventDefault();
  bring(asked(form));
});

/** @type {ReturnType<typeof setTimeout> | undefined} */
let waiting;
document.addEventListener("input", (event) => {
  const slider = event.target;
  if (!(slider instanceof HTMLInputElement) || slider.id !== "level" || !slider.form) return;
  const address = asked(slider.form);
  clearTimeout(waiting);
  // The slider itself stays: it is under the reader's hand.
  waiting = setTimeout(() => bring(address, { parts: "#shown, #others, #activity", remember: "replace" }), WAIT_MS);
});

document.addEventListener("keydown", (event) => {
  const writing = event.target instanceof Element && event.target.matches("input, textarea, select, [contenteditable]");
  if (event.key !== "v" || writing || event.ctrlKey || event.metaKey || event.altKey) return;
  const views = [...document.querySelectorAll("[id^='view-']")];
  const next = views[(views.findIndex((one) => one.hasAttribute("aria-current")) + 1) % views.length];
  if (next instanceof HTMLAnchorElement) next.click();
});

addEventListener("popstate", () => bring(location.href, { remember: "" }));

const elsewhere = document.getElementById("elsewhere");
if (elsewhere) {
  const seen = new IntersectionObserver(async (entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    seen.disconnect();
    const answer = await fetch(elsewhere.dataset.from ?? "").catch(() => undefined);
    if (!answer?.ok) return; // the link stays
    const found = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("found");
    if (found) elsewhere.replaceChildren(document.adoptNode(found));
  });
  seen.observe(elsewhere);
}
