"""What is said of a dictionary of directions: that a person chose where they are active."""

from typing import Any

from sparselex.base.artifacts import Manifest, read_manifest
from sparselex.base.errors import UserError
from sparselex.base.formats import percent
from sparselex.parameters.records import COMPONENTS_OF
from sparselex.server.opened import OpenWorkspace

_VALUES = {
    "as they are": "A value is the coordinate itself",
    "plus bias": "A value is the product with the probe plus its bias",
    "from the mean": "A value is the product of the row with how far a token lies from the mean token",
}


def chosen_activity(trained: Manifest | None) -> str:
    """Where the directions of a run are active and what their values are, in a sentence or two; empty for a dictionary
    that was trained."""
    if trained and (control := trained.notes.get("control")):
        k = trained.config["dictionary"]["k"]
        return (
            f"The {k} directions with the largest values on a token are active: as many as latents of the run that it "
            f"is a control of. {_VALUES[control['values']]}."
        )
    if trained and (told := of_components(trained)):
        return (
            f"A component of the matrix {told['matrix']}, active where its causal importance is above "
            f"{trained.config['dictionary']['least']:g}. A value is what it adds there, in length: importance times "
            "the product with what it reads."
        )
    notes = trained.notes.get("directions") if trained else None
    if notes is None:
        return ""
    share, values = notes["active_share"], _VALUES[notes["values"]]
    if share is None:
        return f"Active wherever a probe is above 0. {values}."
    return (
        f"Active on the {percent(share)} of training tokens where it is largest: a share that was chosen, not found. "
        f"{values}."
    )


def activity_of(opened: OpenWorkspace, run: str) -> str:
    """The same of the dictionary that a run has now; empty where that is damaged, which the run's own page says."""
    try:
        return chosen_activity(opened.artifact(run, "dictionary", read_manifest))
    except UserError:
        return ""


def component_address(opened: OpenWorkspace, run: str, latent: int) -> str:
    """Address of a latent's page as a component of weights; empty for any other, and for those of a control, which are
    not kept one by one."""
    try:
        told = of_components(opened.artifact(run, "dictionary", read_manifest))
    except UserError:
        return ""
    if told is None or told["control"]:
        return ""
    return f"/decompositions/{told['decomposition']}/components/{told['matrix']}/{latent}"


def of_components(made: Manifest | None) -> dict[str, Any] | None:
    """What the dictionary of a run of components says of where they are from; None of any other."""
    told = made.config.get(COMPONENTS_OF) if made else None
    return told if isinstance(told, dict) else None
