"""Explanations as Neuronpedia has them: rows of its bulk layout (`explanations*/batch-<n>.jsonl.gz`), lists from its
API, and rows of a feature with a list `explanations`."""

from collections.abc import Iterator
from pathlib import Path

from sparselex.convert.checked import Row
from sparselex.convert.dashboard import DashboardExplanation
from sparselex.convert.explanations.numbers import latent_of
from sparselex.convert.explanations.rows import rows_in
from sparselex.convert.explanations.told import LeftOut, Ours, OurScore, OurSet, ReadExplanations, Told, ToldScore
from sparselex.convert.neuronpedia import explanation_row

FORMAT = "neuronpedia"

DEFINITION = "a score of Neuronpedia's or of whoever uploaded it, as its file says"

_OWN_SCORES = ("scoreV1", "scoreV2")


def files_of(source: Path) -> list[Path]:
    """The files with explanations in a folder of the bulk layout, or of batches alone."""
    return sorted([*source.glob("**/explanation*/batch-*.jsonl*"), *source.glob("batch-*.jsonl*")])


def claims(row: Row) -> bool:
    """Whether a row is of this layout."""
    return "index" in row.values and ("description" in row.values or "explanations" in row.values)


def read(files: list[Path]) -> ReadExplanations:
    """Read all rows of these files. Raises `UserError` for what is damaged."""
    left_out = LeftOut()
    told = [one for path in files for row in rows_in(path) for one in _of_row(row, left_out)]
    return ReadExplanations(FORMAT, told, left_out, files)


def _of_row(row: Row, left_out: LeftOut) -> Iterator[Told]:
    if "explanations" not in row.values:
        yield _told(row, latent_of(row, "index"), left_out)
        return
    latent = latent_of(row, "index")
    for one in row.rows("explanations"):
        yield _told(one, latent, left_out)


def _told(row: Row, latent: int, left_out: LeftOut) -> Told:
    method = " ".join(filter(None, (row.text("typeName", ""), row.text("explanationModelName", ""))))
    if row.text("notes", ""):
        left_out.add("notes", f"latent {latent}")
    return Told(
        latent=latent,
        text=row.text("description", ""),
        method=method,
        author=row.text("authorId", ""),
        scores=tuple(_scores(row)),
    )


def _scores(row: Row) -> Iterator[ToldScore]:
    for name in _OWN_SCORES:
        if row.values.get(name) is not None:
            yield ToldScore(FORMAT, name, row.number(name))
    for one in row.rows("scores"):
        scorer = " ".join(
            filter(None, (one.text("explanationScoreTypeName"), one.text("explanationScoreModelName", "")))
        )
        yield ToldScore(scorer, "score", one.number("value"))


def written(explanations: list[Ours], of: OurSet) -> Iterator[dict[str, object]]:
    """A row for each, in the form of its bulk import. Scores of ours stand in the notes, for `scoreV1` and `scoreV2`
    are scores of the site's own."""
    for number, one in enumerate(explanations):
        said = DashboardExplanation(text=one.text, author=one.explainer, notes="; ".join(map(_note, one.scores)))
        yield explanation_row(said, of.model, of.source, one.latent, of.made_at, number=number)


def _note(score: OurScore) -> str:
    interval = "" if score.ci_low is None else f", 95 % {score.ci_low:.3g} to {score.ci_high:.3g}"
    null = ", no null" if score.null is None else f", null {score.null:.3g}"
    return f"{score.scorer} {score.metric} {score.value:.3g}{interval}{null}, n {score.n}"
