"""`/decompositions/<name>`: the matrices of a model as sums of components, and how far that may be believed."""

from pathlib import Path

from sparselex.base.config import Config
from sparselex.parameters.records import (
    FOLDER,
    Component,
    Decomposition,
    FoundAgain,
    Matrix,
    again_of,
    components_of,
    decomposition_of,
    decompositions_in,
)
from sparselex.parameters.toys.config import TOYS
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, NotMadeYet, Page, PageRecord

MOST = 60
"""Components of a matrix that its list shows."""


EVERYWHERE = 0.9
"""Share of inputs above which a component is important wherever one looks."""


class ComponentList(Config):
    """The live components of a matrix, those that are important on the fewest inputs first."""

    matrix: Matrix
    """The matrix."""

    n_live: int
    """How many live ones there are."""

    n_everywhere: int
    """How many of them are important on more than nine inputs in ten."""

    components: list[Component]
    """The first of them."""


class DecompositionPage(PageRecord):
    """`/decompositions/<name>`: matrices as sums of components."""

    found: Decomposition
    """What was found."""

    controls: list[str]
    """Names of its controls."""

    lists: list[ComponentList]
    """Components of each matrix; none of a toy."""

    again: list[FoundAgain]
    """Its live components among those of other decompositions of the same matrices."""

    indexed: list[str]
    """Runs of components that have feature pages."""

    others: list[str]
    """Other decompositions of the workspace."""


def decomposition_named(opened: OpenWorkspace, name: str) -> Decomposition:
    """What was found under a name. Raises `NotMadeYet` where there is nothing of that name."""
    path, names = opened.workspace.path, decompositions_in(opened.workspace.path)
    if name not in names:
        there = ", ".join(names)
        raise NotMadeYet(
            f"Nothing is decomposed under the name {name[:40]!r}{f'; there is {there}' if there else ''}.",
            f"one of {', '.join(names)}" if names else "a decomposition",
            f"run `sparselex decompose {opened.workspace.typed}{f' --toy {name}' if name in TOYS else ''}`.",
        )
    return decomposition_of(path / FOLDER / name)


def decomposition_page(opened: OpenWorkspace, name: str) -> DecompositionPage:
    """One decomposition. Raises `NotMadeYet` where there is none of that name."""
    found, path = decomposition_named(opened, name), opened.workspace.path
    return DecompositionPage(
        title=f"{name}: components of weights",
        found=found,
        controls=list(dict.fromkeys(control for figure in found.figures for control in figure.controls)),
        again=[*again_of(path, name).values()],
        lists=[] if found.layer is None else _lists(path / FOLDER / name, found),
        indexed=[
            one.run for one in (*found.matrices, *found.control_matrices) if one.run and opened.has(one.run, "index")
        ],
        others=[other for other in decompositions_in(path) if other != name],
    )


def _lists(folder: Path, found: Decomposition) -> list[ComponentList]:
    table = components_of(folder)
    made = []
    for one in found.matrices:
        live = sorted((each for each in table.matrices[one.name] if each.live), key=lambda each: each.share)
        often = sum(each.share > EVERYWHERE for each in live)
        made.append(ComponentList(matrix=one, n_live=len(live), n_everywhere=often, components=live[:MOST]))
    return made


PAGE = Page(path="/decompositions/{name}", build=decomposition_page, template=TEMPLATES / "decomposition.html")
