// @ts-check
// Examples: the histogram shows where the pointed one lies; arrow keys go from one active token to the next;
// the details of a token open towards the middle of the window. Activations can be shown as digits; a position opens
// all the text around it in place.

export function markExamples() {
  const histogram = document.getElementById("histogram");
  const marker = document.getElementById("marker");
  if (!histogram || !marker) return;
  const { left, right, low, high, axis } = histogram.dataset;
  const place = (/** @type {number} */ size) => (axis === "log" ? Math.log(Math.max(size, Number(low))) : size);
  for (const example of document.querySelectorAll(".examples li[data-value]")) {
    const show = () => {
      const [from, to] = [place(Number(low)), place(Number(high))];
      const share = (place(Math.abs(Number(example.getAttribute("data-value")))) - from) / (to - from);
      const x = String(Number(left) + share * (Number(right) - Number(left)));
      marker.setAttribute("x1", x);
      marker.setAttribute("x2", x);
      marker.setAttribute("visibility", "visible");
    };
    example.addEventListener("pointerenter", show);
    example.addEventListener("focusin", show);
  }
}

export function walkTokens() {
  const turn = (/** @type {Event} */ event) => {
    const token = event.target instanceof Element ? event.target.closest(".t") : null;
    token?.classList.toggle("left-wards", token.getBoundingClientRect().left > innerWidth / 2);
  };
  document.addEventListener("pointerover", turn);
  document.addEventListener("focusin", turn);
  document.addEventListener("keydown", (event) => {
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (!step || !(event.target instanceof Element) || !event.target.matches(".t")) return;
    // Looked up each time: texts open in place, and what is folded away cannot be gone to.
    const tokens = [...document.querySelectorAll(".t")].filter((token) => token.checkVisibility());
    const next = tokens[tokens.indexOf(event.target) + step];
    if (next instanceof HTMLElement) {
      event.preventDefault();
      next.focus();
    }
  });
}

const DIGITS = "digits";

/** @param {boolean} on */
const setDigits = (on) => {
  document.body.classList.toggle(DIGITS, on);
  document.getElementById("digits")?.setAttribute("aria-pressed", String(on));
};

export function showDigits() {
  const asked = new URLSearchParams(location.search).get("digits");
  setDigits(asked === null ? localStorage.getItem(DIGITS) === "1" : asked === "1");
}

// Heard on the whole page: the button comes anew with every part that is brought.
document.addEventListener("click", (event) => {
  if (!(event.target instanceof Element) || !event.target.closest("#digits")) return;
  const on = !document.body.classList.contains(DIGITS);
  localStorage.setItem(DIGITS, on ? "1" : "0");
  setDigits(on);
});

export function openTexts() {
  document.addEventListener("click", async (event) => {
    const link = event.target instanceof Element ? event.target.closest("a.whole-text") : null;
    const example = link?.closest("li");
    if (!(link instanceof HTMLAnchorElement) || !example || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    try {
      const answer = await fetch(link.href);
      if (!answer.ok) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const tokens = page.querySelector(".examples .tokens");
      if (!tokens) throw new Error("no text");
      example.querySelector(".tokens")?.replaceWith(document.adoptNode(tokens));
      example.classList.add("opened");
      link.classList.remove("whole-text"); // a second click follows it: there is the document
    } catch {
      location.assign(link.href);
    }
  });
}
