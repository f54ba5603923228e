"""`/monosemanticity`: Towards Monosemanticity reproduced, our figures beside the paper's."""

from sparselex.evaluate.monosemanticity.found import (
    changed_since,
    claims_of,
    measured_in,
    replication_of,
    still_left_out,
)
from sparselex.evaluate.monosemanticity.records import ClaimFound, Replication
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, NotMadeYet, Page, PageRecord


class MonosemanticityPage(PageRecord):
    """`/monosemanticity`: the claims of the paper, each with our figures beside its own."""

    made: Replication
    """What was made, and of what."""

    claims: list[ClaimFound]
    """All claims, in the order of the report."""

    stale: dict[str, str]
    """Artifacts that are left out, as `run/artifact`, and why."""

    changed: list[str]
    """Runs that are gone, or have another dictionary than the recipe gave them."""

    command: str
    """What makes all of it."""


def monosemanticity_page(opened: OpenWorkspace) -> MonosemanticityPage:
    """What was reproduced. Raises `NotMadeYet` where nothing was."""
    made = replication_of(opened.workspace)
    command = f"sparselex recipe monosemanticity {opened.workspace.typed}"
    if made is None:
        raise NotMadeYet("The paper was not reproduced in this workspace yet.", "a reproduction", f"run `{command}`.")
    measured, stale = measured_in(opened.workspace, made.roles)
    return MonosemanticityPage(
        title="Towards Monosemanticity, reproduced",
        made=made.model_copy(update={"left_out": still_left_out(opened.workspace, made)}),
        claims=claims_of(measured, made.roles),
        stale=stale,
        changed=changed_since(opened.workspace, made.roles),
        command=command,
    )


PAGE = Page(path="/monosemanticity", build=monosemanticity_page, template=TEMPLATES / "monosemanticity.html")
