"""`/runs/<run>/probes`: how well a dictionary tells concepts that are known, beside what nothing was trained for."""

from collections.abc import Sequence

from sparselex.base.figures import Figure
from sparselex.evaluate.probes.records import DENSE, FILE, KIND, AblationRow, Ablations, Concept, Probed, RavelRow
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, NoSuchPage, NotMadeYet, Page, PageRecord

_USUAL = 5
"""Coordinates of the probes that are shown first; where none read as many, those that read most."""


class ProbesPage(PageRecord):
    """`/runs/<run>/probes`: sparse probing, SCR, TPP and RAVEL of a run's dictionary."""

    run: str
    """The run."""

    found: Probed
    """All that was measured."""

    k: int
    """Coordinates that the probes read which are shown."""

    ks: list[int]
    """Those that can be chosen."""

    kinds: list[str]
    """Kinds of coordinates, the latents first."""

    def auroc(self, concept: Concept, kind: str) -> Figure | None:
        """One cell of the table of concepts."""
        k = 0 if kind == DENSE else self.k
        return next((row.auroc for row in concept.rows if (row.name, row.k) == (kind, k)), None)

    def ns(self, rows: Sequence[AblationRow | RavelRow]) -> list[int]:
        """How many were taken out or exchanged."""
        return sorted({row.n for row in rows})

    def score(self, one: Ablations, kind: str, n: int) -> AblationRow | None:
        """One cell of a table of ablations."""
        return next((row for row in one.rows if (row.name, row.n) == (kind, n)), None)

    def names(self, rows: Sequence[AblationRow | RavelRow]) -> list[str]:
        """Kinds that have a row."""
        return list(dict.fromkeys(row.name for row in rows))


def probes_page(opened: OpenWorkspace, run: str, k: int = _USUAL) -> ProbesPage:
    """What was measured of one run. Raises `NoSuchPage` for a run or a number that there is not."""
    opened.card(run)
    found = opened.record(Probed, run, KIND, FILE)
    if found is None:
        raise NotMadeYet(
            f"Run {run!r} was not put to concepts that are known.",
            "a run that was",
            f"run `sparselex evaluate probes {opened.workspace.typed} --run {run}`.",
        )
    rows = [row for concept in found.concepts for row in concept.rows]
    ks = sorted({row.k for row in rows if row.k})
    if k not in (*ks, _USUAL):
        raise NoSuchPage(f"No probe read {k} coordinates.", "one of " + ", ".join(map(str, ks)), "choose one of these.")
    return ProbesPage(
        title=f"{run}: concepts that are known",
        run=run,
        found=found,
        k=k if k in ks else (ks or [k])[-1],
        ks=ks,
        kinds=list(dict.fromkeys(row.name for row in rows)),
    )


PAGE = Page(
    path="/runs/{run}/probes",
    build=probes_page,
    template=TEMPLATES / "probes.html",
    label="Probes",
    needs=(KIND,),
)
