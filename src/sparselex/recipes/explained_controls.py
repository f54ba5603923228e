"""Controls of a run that are explained as it is, beside which what explanations say is held. Nothing here loads
PyTorch."""

from collections.abc import Sequence
from typing import Any

from sparselex.base.errors import UserError

_NEEDED = ("dictionary", "index", "explanations")


def explained_controls(run: Any, names: Sequence[str] = ()) -> dict[str, str]:
    """Ids of what runs were measured on, as `run/artifact`: of these, or of every control of the run that is explained;
    none where there is none. Raises `UserError` for a name of a run that is not explained."""
    workspace, found = run.workspace, dict[str, str]()
    for name in names or sorted(workspace.runs()):
        card = workspace.card(name)  # refuses a name that is none
        there = name != run.name and all(workspace.has(name, kind) for kind in _NEEDED)
        if names and not there:
            raise UserError(
                f"Run {name!r} was to be held beside run {run.name!r}, and is that run, or is not explained.",
                f"another run that is indexed and explained, such as a control of {run.name!r}",
                f"explain it (`sparselex explain {workspace.typed} --run {name}`), or name another by --others.",
            )
        if there and (names or card.twin_of == run.name):
            artifacts = workspace.artifacts(name)
            found |= {f"{name}/{kind}": artifacts[kind].id for kind in _NEEDED}
    return found


def runs_of(ids: dict[str, str]) -> list[str]:
    """The runs that these artifacts are of."""
    return list(dict.fromkeys(one.rpartition("/")[0] for one in ids))


NO_CONTROL = (
    "no control of the run is explained: `sparselex controls` makes them, and without one nobody can say what these "
    "figures would be of a model that has learned nothing"
)
"""What is said where there is none."""
