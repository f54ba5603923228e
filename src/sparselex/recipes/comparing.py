"""Two runs of a workspace beside each other. PyTorch is loaded only if there is something to be done."""

from collections.abc import Sequence
from itertools import combinations

from sparselex.atlas.compare.records import KIND, WORDS, Compared, folder_name
from sparselex.atlas.config import CompareConfig
from sparselex.base.errors import UserError
from sparselex.base.registry import found
from sparselex.base.staging import finished, stage
from sparselex.base.workspace import Workspace
from sparselex.explain.pairs import said_of
from sparselex.explain.store import ExplanationStore
from sparselex.recipes.folder import RunFolder

_WORK = "sparselex.recipes.work.compare:compare_runs"


def compare_with(workspace: Workspace, run: str, other: str, config: CompareConfig | None = None) -> Compared:
    """What two indexed runs of a workspace have in common, and what only one has, by directions, activations and
    explanations; work that is done is not done again. It lies among the artifacts of `run`.

    Raises `UserError` for a run that there is not or that is not indexed, for one with itself, and for two that have
    neither a place nor a text in common.
    """
    if run == other:
        raise UserError(f"Run {run!r} was to be compared with itself.", "two runs", "name another one with --with.")
    config, inputs = config or CompareConfig(), dict[str, str]()
    for name, folder in (("a", RunFolder.open(workspace, run)), ("b", RunFolder.open(workspace, other))):
        inputs |= {f"{kind} {name}": folder.manifest(kind).id for kind in ("dictionary", "index")}
    indexes = inputs["index a"], inputs["index b"]
    if said := said_of(ExplanationStore(workspace.database), *indexes):
        inputs[WORDS] = said
    to = workspace.run(run) / folder_name(other)
    if finished(to, KIND, config, inputs):
        with stage(to, KIND, config, inputs):  # takes away what a kill has left beside it
            return Compared(to)
    return found(_WORK)(workspace, run, other, config, to, inputs)


def compare_all(
    workspace: Workspace, runs: Sequence[str], config: CompareConfig | None = None
) -> dict[tuple[str, str], Compared]:
    """Every two of several runs, such as those of neighbouring layers, each pair once in the order of `runs`. Raises
    like `compare_with`, before anything is done for a run that is named twice."""
    if len(set(runs)) < len(runs):
        raise UserError(f"{', '.join(runs)} names a run twice.", "different runs", "name each once.")
    return {pair: compare_with(workspace, *pair, config) for pair in combinations(runs, 2)}
