"""What people call features, read where the browser's notes are kept: one more explainer, held against the others."""

from collections.abc import Mapping
from pathlib import Path

from sparselex.base.database import Database
from sparselex.base.files import fingerprint
from sparselex.explain.records import Explanation
from sparselex.explain.store import ExplanationStore
from sparselex.llm.wire import harmless

LABEL = "label"
"""The explainer whose explanations are labels."""

_NOTES: tuple[tuple[str, ...], ...] = ((),)
"""The component of the database is the browser's (`sparselex.server.notes`), which makes and mends its tables; of this
many versions the table of labels is read."""

_LABELS = "SELECT latent, text FROM note_label WHERE run = ? AND dictionary = ? ORDER BY latent"


def labels_of(database: Path | str, run: str, dictionary: str) -> dict[int, str]:
    """The labels of a run's latents under one dictionary, by its id; none where nobody wrote any. Raises `UserError`
    for a database that cannot be read."""
    notes = Database(database, "notes", _NOTES)
    return dict(notes.records(tuple[int, str], _LABELS, (run, dictionary)))


def enter(store: ExplanationStore, index_id: str, labels: Mapping[int, str]) -> None:
    """Have the store hold just these labels: what changed in place of what was there, with its scores, and what is gone
    taken away."""
    there = {one.latent: one for one in store.all(index_id, LABEL)}
    new = [explained(latent, LABEL, text) for latent, text in labels.items()]
    store.remove(index_id, LABEL, there.keys() - labels.keys())
    store.add(index_id, fingerprint(LABEL), [one for one in new if there.get(one.latent) != one])


def explained(latent: int, explainer: str, text: str) -> Explanation:
    """An explanation in one sentence, with as much of it for lists as they show."""
    text = harmless(text)
    title = text if len(text) <= 80 else text[:79].rstrip() + "…"
    return Explanation(latent=latent, explainer=explainer, status="explained", text=text, title=title)
