"""A reproduction of "Towards Monosemanticity" whose runs are those of a small workspace."""

from sparselex.base.files import write_json
from sparselex.base.staging import stage
from sparselex.base.workspace import Workspace
from sparselex.evaluate.monosemanticity.records import FILE, KIND, Replication, Roles, replication_folder

ROLES = Roles(narrow="twin", main="main", wide="twin", other_narrow="twin", other="twin", other_wide="twin")
"""The workspace has two runs: the one that is looked at, and one that is all others."""


def put_replication(workspace: Workspace) -> Replication:
    """Leave the record of one, as the recipe leaves it; its figures are those of the runs."""
    made = Replication(
        roles=ROLES,
        models=("embedded", "embedded-b"),
        text="stdlib",
        l1=0.006,
        train_tokens=(3, 2, 1),
        shortened=["--tokens 60,000 instead of 5,500,000"],
        left_out={"main: map": "There is none."},
    )
    with stage(replication_folder(workspace.path), KIND, made, {}) as staging:
        write_json(staging.folder / FILE, made.to_json())
        staging.finish()
    return made
