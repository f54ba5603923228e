// @ts-check
// While a language model is asked about this feature, the section that says so is drawn anew every other second; when
// it is done, the page, for it has an explanation more.

const EVERY_MS = 1500;

const section = () => document.getElementById("ask");

async function look() {
  const old = section();
  if (!old?.dataset.going) return;
  const answer = await fetch(old.dataset.from ?? "").catch(() => undefined);
  const fresh = answer?.ok ? new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("ask") : null;
  if (fresh && !fresh.dataset.going && old.dataset.going === "asking") return location.reload();
  if (fresh && !old.contains(document.activeElement)) old.replaceWith(document.adoptNode(fresh));
  else if (fresh && fresh.dataset.going) old.querySelector("[role=status]")?.replaceChildren(...fresh.querySelector("[role=status]")?.childNodes ?? []);
  else if (fresh) old.replaceWith(document.adoptNode(fresh));
  setTimeout(look, EVERY_MS);
}

setTimeout(look, EVERY_MS);
