"""`/decompositions/<name>`: the matrices of a model as sums of components, and how far that may be believed."""

from pathlib import Path

from sparselex.base.artifacts import MANIFEST
from sparselex.parameters.records import Decomposition, decomposition_of
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, NotMadeYet, Page, PageRecord

FOLDER = "decompositions"
"""Folder of a workspace in which they lie."""


class DecompositionPage(PageRecord):
    """`/decompositions/<name>`: matrices as sums of components."""

    found: Decomposition
    """What was found."""

    controls: list[str]
    """Names of its controls."""

    others: list[str]
    """Other decompositions of the workspace."""


def decompositions(workspace: Path) -> list[str]:
    """Names of those that are finished, in order."""
    folder = workspace / FOLDER
    inside = folder.iterdir() if folder.is_dir() else ()
    return sorted(one.name for one in inside if not one.name.startswith(".") and (one / MANIFEST).is_file())


def decomposition_page(opened: OpenWorkspace, name: str) -> DecompositionPage:
    """One decomposition. Raises `NotMadeYet` where there is none of that name."""
    path, names = opened.workspace.path, decompositions(opened.workspace.path)
    if name not in names:
        raise NotMadeYet(
            f"Nothing is decomposed under the name {name[:40]!r}.",
            f"one of {', '.join(names)}" if names else "a decomposition",
            f"run `sparselex decompose {opened.workspace.typed}`.",
        )
    found = decomposition_of(path / FOLDER / name)
    return DecompositionPage(
        title=f"{name}: components of weights",
        found=found,
        controls=list(dict.fromkeys(control for figure in found.figures for control in figure.controls)),
        others=[other for other in names if other != name],
    )


PAGE = Page(path="/decompositions/{name}", build=decomposition_page, template=TEMPLATES / "decomposition.html")
