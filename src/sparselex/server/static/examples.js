// @ts-check
// Examples: the histogram shows where the pointed one lies; arrow keys go from one active token to the next;
// the details of a token open towards the middle of the window.

export function markExamples() {
  const histogram = document.getElementById("histogram");
  const marker = document.getElementById("marker");
  if (!histogram || !marker) return;
  const { left, right, largest } = histogram.dataset;
  for (const example of document.querySelectorAll(".examples li")) {
    const show = () => {
      const share = Math.abs(Number(example.getAttribute("data-value"))) / Number(largest);
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
  const tokens = [...document.querySelectorAll(".t")];
  for (const token of tokens) {
    const turn = () => token.classList.toggle("left-wards", token.getBoundingClientRect().left > innerWidth / 2);
    token.addEventListener("pointerenter", turn);
    token.addEventListener("focus", turn);
  }
  document.addEventListener("keydown", (event) => {
    const place = tokens.indexOf(/** @type {Element} */ (event.target));
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    const next = place >= 0 && step ? tokens[place + step] : null;
    if (next instanceof HTMLElement) {
      event.preventDefault();
      next.focus();
    }
  });
}
