"""`/synthetic/<name>`: dictionary types where the truth is known."""

from sparselex.base.artifacts import MANIFEST
from sparselex.evaluate.synthetic.records import SHOWN, SyntheticReport, ranking_of, synthetic_folder
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, NoSuchPage, NotMadeYet, Page, PageRecord


class SyntheticPage(PageRecord):
    """`/synthetic/<name>`: dictionary types where the truth is known."""

    found: SyntheticReport
    """What was found."""

    shown: list[str]
    """Measures in the order of the table's columns."""


def synthetic_page(opened: OpenWorkspace, name: str) -> SyntheticPage:
    """One set with its ranking."""
    if name not in synthetic_sets(opened):
        _refuse(opened, name)
    found = ranking_of(synthetic_folder(opened.workspace, name))
    return SyntheticPage(title=f"{name}: known features", found=found, shown=list(SHOWN))


PAGE = Page(path="/synthetic/{name}", build=synthetic_page, template=TEMPLATES / "synthetic.html")


def synthetic_sets(opened: OpenWorkspace) -> list[str]:
    """The finished sets of the workspace, by name."""
    found = opened.workspace.path.glob(f"synthetic/*/ranking/{MANIFEST}")
    return sorted(path.parent.parent.name for path in found)


def _refuse(opened: OpenWorkspace, name: str) -> None:
    sets = synthetic_sets(opened)
    if sets:
        raise NoSuchPage(
            f"There is no set of known features {name!r} in this workspace.",
            "one of " + ", ".join(sets),
            "go back to the overview.",
        )
    raise NotMadeYet(
        "Nothing was ranked on known features yet.",
        "a set that was ranked",
        f"run `sparselex evaluate synthetic {opened.workspace.typed}`.",
    )
