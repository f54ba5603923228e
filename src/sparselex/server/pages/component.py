"""`/decompositions/<name>/components/<matrix>/<number>`: one component of a matrix."""

from pathlib import Path
from typing import Annotated

from sparselex.base.config import Config
from sparselex.parameters.records import (
    COMPONENTS,
    Component,
    ComponentTable,
    Decomposition,
    Matrix,
    Together,
    components_of,
)
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, NoSuchPage, Page, PageRecord
from sparselex.server.pages.decomposition import FOLDER, decomposition_named
from sparselex.server.pages.feature import numbered


class RangeOfImportance(Config):
    """Inputs whose importance lies in a range."""

    words: str
    """The range."""

    n: int
    """How many there are."""

    share: float
    """Of all inputs."""


class ComponentPage(PageRecord):
    """`/decompositions/<name>/components/<matrix>/<number>`: one component of a matrix."""

    name: str
    """Name of the decomposition."""

    target: str
    """What was decomposed, in words."""

    matrix: Matrix
    """The matrix."""

    component: Component
    """What was measured of it."""

    live: bool
    """Whether it is important on some inputs."""

    n_inputs: int
    """Inputs that it was measured on."""

    ranges: list[RangeOfImportance]
    """Its importance, by ranges."""

    feature: str
    """Address of its page as a feature, with texts; empty where its run has no index."""

    features: dict[str, str]
    """The same of the components that are important together with it, by matrix and number."""

    previous: int
    """The component before it, around the end."""

    next: int
    """The one after it."""

    def beside(self, one: Together) -> str:
        """Address of the feature page of a component that is important together with it; empty where there is none."""
        return self.features.get(f"{one.matrix}/{one.number}", "")


def component_page(
    opened: OpenWorkspace, name: str, matrix: str, number: Annotated[int, numbered("component", 9)]
) -> ComponentPage:
    """One component. Raises `NotMadeYet` where there is no decomposition of that name, `NoSuchPage` where it has no
    such matrix or component, or was of a toy."""
    found = decomposition_named(opened, name)
    table = component_table_of(opened.workspace.path / FOLDER / name)
    those = table.matrices.get(matrix) if table else None
    if table is None or those is None or not number < len(those):
        raise NoSuchPage(
            f"There is no component {number} of {matrix[:40]!r} in the decomposition {name[:40]!r}.",
            f"a number from 0 to {len(those) - 1}" if those else "a matrix of a model that was decomposed",
            "choose one from the page of the decomposition.",
        )
    one, of = those[number], next(each for each in found.matrices if each.name == matrix)
    return ComponentPage(
        title=f"{name}: component {number} of {matrix}",
        name=name,
        target=found.target,
        matrix=of,
        component=one,
        live=one.live,
        n_inputs=table.n_inputs,
        ranges=_ranges(one, table.n_inputs),
        feature=feature_of(opened, found, matrix, number),
        features={
            f"{each.matrix}/{each.number}": feature_of(opened, found, each.matrix, each.number) for each in one.together
        },
        previous=(number - 1) % len(those),
        next=(number + 1) % len(those),
    )


PAGE = Page(
    path="/decompositions/{name}/components/{matrix}/{number}",
    build=component_page,
    template=TEMPLATES / "component.html",
)


def component_table_of(folder: Path) -> ComponentTable | None:
    """The components of a decomposition one by one; None for a toy, of which they are not kept."""
    return components_of(folder) if (folder / COMPONENTS).is_file() else None


def feature_of(opened: OpenWorkspace, found: Decomposition, matrix: str, number: int) -> str:
    """Address of a component's page as a feature; empty where its run has no index."""
    run = next((one.run for one in found.matrices if one.name == matrix), "")
    return f"/runs/{run}/features/{number}" if run and opened.has(run, "index") else ""


def _ranges(one: Component, n: int) -> list[RangeOfImportance]:
    width = 1 / max(1, len(one.histogram) - 1)
    words = ["none", *(f"{at * width:.1f} to {(at + 1) * width:.1f}" for at in range(len(one.histogram) - 1))]
    return [
        RangeOfImportance(words=said, n=count, share=count / max(1, n))
        for said, count in zip(words, one.histogram, strict=True)
    ]
