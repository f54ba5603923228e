// @ts-check
// Pages that ask the live model. Without it they lose nothing but comfort: a page that waits for a model is asked again
// by hand, and rows are put in order by the field that names them.

/** Enter ends a line of a text; with Ctrl it asks. */
function sendByKey() {
  document.addEventListener("keydown", (event) => {
    const asks = event.key === "Enter" && (event.ctrlKey || event.metaKey);
    if (asks && event.target instanceof HTMLTextAreaElement) event.target.form?.requestSubmit();
  });
}

/** A model that is being loaded is asked again. */
function askAgain() {
  if (document.querySelector('[data-state="loading"]')) setTimeout(() => location.reload(), 1500);
}

/** The line at the largest activation on the reader's text. */
function markLargest() {
  const figure = document.querySelector("figure[data-marked]");
  const histogram = document.getElementById("histogram");
  const marker = document.getElementById("marker");
  if (!(figure instanceof HTMLElement) || !histogram || !marker || !Number(figure.dataset.marked)) return;
  const { left, right, largest } = histogram.dataset;
  const share = Math.min(1, Number(figure.dataset.marked) / Number(largest));
  const x = String(Number(left) + share * (Number(right) - Number(left)));
  marker.setAttribute("x1", x);
  marker.setAttribute("x2", x);
  marker.setAttribute("visibility", "visible");
}

/** Cells are read out where they are pointed at or focused; arrows go from one to the next. */
function readCells() {
  const table = document.querySelector("table.grid");
  const reading = document.getElementById("reading");
  if (!(table instanceof HTMLTableElement) || !reading) return;
  const first = table.querySelector("td[title]");
  if (first instanceof HTMLElement) first.tabIndex = 0;
  const read = (/** @type {Event} */ event) => {
    const cell = event.target instanceof Element ? event.target.closest("td[title]") : null;
    if (cell instanceof HTMLElement) reading.textContent = cell.title;
  };
  table.addEventListener("focusin", read);
  table.addEventListener("pointerover", read);
  table.addEventListener("keydown", (event) => {
    const cell = event.target;
    if (!(cell instanceof HTMLTableCellElement)) return;
    const next = neighbour(table, cell, event.key);
    if (!next) return;
    event.preventDefault();
    cell.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
    next.scrollIntoView({ block: "nearest", inline: "nearest" });
  });
}

/**
 * The next cell with a value in a direction.
 * @param {HTMLTableElement} table
 * @param {HTMLTableCellElement} cell
 * @param {string} key
 * @returns {HTMLTableCellElement | null}
 */
function neighbour(table, cell, key) {
  const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[key];
  if (!step) return null;
  let row = (cell.closest("tr")?.rowIndex ?? 0) + step[0];
  let column = cell.cellIndex + step[1];
  while (row > 0 && row < table.rows.length && column > 0 && column < table.rows[row].cells.length) {
    const found = table.rows[row].cells[column];
    if (found.title) return found;
    row += step[0];
    column += step[1];
  }
  return null;
}

/** Rows are moved by buttons; the address and the field that names them follow. */
function moveRows() {
  const body = document.querySelector("table.grid tbody");
  const field = document.getElementById("rows");
  if (!body || !(field instanceof HTMLInputElement)) return;
  const keep = () => {
    const order = [...body.querySelectorAll("tr")].map((row) => row.dataset.latent).join(",");
    const address = new URL(location.href);
    address.searchParams.set("rows", order);
    field.value = order;
    history.replaceState(null, "", address);
  };
  for (const row of body.querySelectorAll("tr")) {
    const place = row.querySelector(".named");
    for (const [sign, words] of [["↑", "up"], ["↓", "down"]]) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "move";
      button.textContent = sign;
      button.setAttribute("aria-label", `Move feature ${row.dataset.latent} ${words}`);
      button.addEventListener("click", () => {
        const other = words === "up" ? row.previousElementSibling : row.nextElementSibling;
        if (words === "up") other?.before(row);
        else other?.after(row);
        button.focus();
        keep();
      });
      place?.append(button);
    }
  }
}

sendByKey();
askAgain();
markLargest();
readCells();
moveRows();
