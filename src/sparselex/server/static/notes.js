// @ts-check
// Notes are written without leaving the page: a form is sent as JSON, and what it changed is drawn anew. Where somebody
// wrote meanwhile, both texts stay in sight. `s` stars the feature of the page.

/** @param {HTMLFormElement} form */
function statusOf(form) {
  return (form.closest("section") ?? document).querySelector(".status") ?? document.querySelector(".status");
}

/** @param {HTMLFormElement} form @param {string} words @param {boolean} wrong */
function tell(form, words, wrong) {
  const status = statusOf(form);
  if (!status) return;
  status.textContent = words;
  status.classList.toggle("wrong", wrong);
}

/** The part of the page that shows what was written, as it is now. @param {HTMLFormElement} form */
async function drawAnew(form) {
  const section = form.closest("section[data-from]");
  const opened = [...document.querySelectorAll("main details")].map((one) => one instanceof HTMLDetailsElement && one.open);
  const answer = await fetch(section?.getAttribute("data-from") ?? location.href);
  // A list or a case study that was taken away has no page: its form says where to go on.
  if (!answer.ok) return location.assign(form.action.replace(/\/notes$/, String(new FormData(form).get("back") ?? "/notes")));
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const [old, fresh] = section ? [section, page.getElementById("notes")] : [document.querySelector("main"), page.querySelector("main")];
  if (!old || !fresh) return location.reload();
  const focused = document.activeElement?.id;
  old.replaceWith(document.adoptNode(fresh));
  const details = [...document.querySelectorAll("main details")];
  if (!section) details.forEach((one, n) => one instanceof HTMLDetailsElement && opened.length === details.length && (one.open = opened[n]));
  if (focused) document.getElementById(focused)?.focus();
}

/** @param {HTMLFormElement} form */
async function write(form) {
  const sent = Object.fromEntries([...new FormData(form)].filter(([name]) => name !== "back"));
  const drawn = crypto.getRandomValues(new Uint8Array(8));
  // Drawn once for a form: sent a second time because no answer came, it is the same note.
  form.dataset.id ??= [...drawn].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  if ((sent.do === "note" || sent.do === "study") && !sent.id) sent.id = form.dataset.id;
  try {
    const answer = await fetch(form.action, {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(sent),
    });
    const said = await answer.json();
    if (answer.ok) return await drawAnew(form);
    if (answer.status !== 409) return tell(form, `Not written: ${said.message} ${said.todo}`, true);
    const version = form.elements.namedItem("version");
    if (version instanceof HTMLInputElement) version.value = String(said.version);
    tell(form, `${said.message} There stands now: “${said.now}”. Yours is kept in the field; save again to put it in its place.`, true);
  } catch {
    tell(form, "Not written: the server did not answer. Your text is kept in the field.", true);
  }
}

/** @param {HTMLFormElement} form @param {string} text */
async function takeUp(form, text) {
  try {
    const answer = await fetch(form.action, { method: "POST", headers: { "content-type": "text/markdown" }, body: text });
    const said = await answer.json();
    const words = answer.ok ? [said.summary, ...said.conflicts].join("\n") : `Not taken up: ${said.message} ${said.todo}`;
    if (answer.ok) await drawAnew(form);
    const status = [...document.querySelectorAll(".status")].at(-1);
    if (status) status.textContent = words;
    status?.classList.toggle("wrong", !answer.ok || said.conflicts.length > 0);
  } catch {
    tell(form, "Not taken up: the server did not answer.", true);
  }
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!(form instanceof HTMLFormElement) || !form.matches(".writes, .taken-up")) return;
  event.preventDefault();
  if (form.matches(".writes")) void write(form);
  else void takeUp(form, String(new FormData(form).get("text") ?? ""));
});

document.addEventListener("change", async (event) => {
  const input = event.target;
  if (!(input instanceof HTMLInputElement) || input.type !== "file" || !input.form?.matches(".taken-up")) return;
  const [file] = input.files ?? [];
  if (file) void takeUp(input.form, await file.text());
});

document.addEventListener("keydown", (event) => {
  const writing = event.target instanceof Element && event.target.matches("input, textarea, select");
  if (event.key === "s" && !writing && !event.ctrlKey && !event.metaKey && !event.altKey) document.getElementById("star")?.click();
});
