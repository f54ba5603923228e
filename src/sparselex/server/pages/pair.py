"""`/pairs/<name>`: two dictionaries around an MLP that were trained together, beside their controls."""

from sparselex.base.figures import Figure
from sparselex.evaluate.pairs.records import ARMS, PairCard, pair_card, pairs_in
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, NotMadeYet, Page, PageRecord


class PairPage(PageRecord):
    """`/pairs/<name>`: two dictionaries around an MLP that were trained together."""

    found: PairCard
    """What came of it."""

    own: list[Figure]
    """Figures of the pair with the penalty."""

    differences: list[Figure]
    """What these are less those of the other pairs."""

    controls: list[str]
    """What the other pairs are called beside a figure."""

    there: list[str]
    """Of the runs that have a part in it those that the workspace has."""

    others: list[str]
    """Other pairs of the workspace."""


def pair_page(opened: OpenWorkspace, name: str) -> PairPage:
    """One pair. Raises `NotMadeYet` where there is none of that name."""
    names = pairs_in(opened.workspace.path)
    if name not in names:
        raise NotMadeYet(
            f"No two dictionaries were trained together under the name {name[:40]!r}.",
            f"one of {', '.join(names)}" if names else "a pair",
            f"run `sparselex pair {opened.workspace.typed} --run RUN --into RUN`.",
        )
    found = pair_card(opened.workspace, name)
    return PairPage(
        title=f"{name}: a pair around an MLP",
        found=found,
        own=found.own,
        differences=found.differences,
        controls=[words for words in ARMS.values() if any(words in figure.controls for figure in found.own)],
        there=[run for run in (*found.parents, *found.runs) if opened.workspace.has_run(run)],
        others=[other for other in names if other != name],
    )


PAGE = Page(path="/pairs/{name}", build=pair_page, template=TEMPLATES / "pair.html")
