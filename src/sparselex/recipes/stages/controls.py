"""`controls`: a run's explanations in, the same of its controls beside them out."""

from typing import Annotated, Any

from pydantic import Field

from sparselex.base.artifacts import Manifest
from sparselex.base.bounds import Once, Seed
from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.evaluate.against import KIND, AgainstControls
from sparselex.explain.asking.summary import AskSummary
from sparselex.explain.registry import made_by
from sparselex.recipes.control_runs import KindOfControl, control_named
from sparselex.recipes.option import Option
from sparselex.recipes.stage import Stage
from sparselex.recipes.stages.ask import Ask
from sparselex.recipes.stages.explain import Explain

_SCORED = (Explain.makes, Ask.makes)
"""Artifacts of explanations."""


class Controls(Stage):
    """Hold the run's explanations against those of controls: neurons, random directions, a frozen decoder, random
    weights, each at the run's place, text and number of active latents, explained and scored in the same way."""

    verb = "controls"
    needs = ("dictionary", "index")
    reads = _SCORED
    makes = KIND
    work = "sparselex.recipes.work.controls:controls_run"
    gives = "sparselex.recipes.stages.controls:against_controls"

    kinds: Annotated[tuple[KindOfControl, ...], Once, Field(min_length=1)] = (
        "neurons",
        "random",
        "covariance",
        "frozen",
        "twin",
    )
    """Which controls: directions at the run's mean number of active latents (`neurons`, both ways of each where they
    have signs; `random`; `covariance`, drawn as the activations vary; `pca`; `kmeans`; `ica`), and the run's own recipe
    with a part that stays as it was drawn (`frozen`, the decoder; `soft_frozen`, near it; `frozen_encoder`) or on
    weights that were not learned (`twin`, drawn anew; `permuted`; `gaussian`, and with the learned embedding
    `gaussian_kept`; `redrawn`: learned weights, what stands for a token drawn anew wherever it stands). All of the
    latter are trained, which takes as long as the run took, where the workspace has none."""

    seed: Seed = 0
    """Seed of directions that are drawn."""

    ask: Annotated[dict[str, Any], Option(hidden=True)] = Field(default_factory=dict)
    """Options of `explain --llm` by which the controls are explained and judged by a language model too, as the run
    was; without any they are not."""

    ask_passing: Annotated[dict[str, Any], Option(hidden=True, in_passing=True)] = Field(default_factory=dict)
    """Those of them that decide nothing about what comes out."""

    anew: Annotated[bool, Option(hidden=True, in_passing=True)] = False
    """Make controls of the run anew that were made when it was another (`--replace`)."""

    def facts(self, run: Any) -> dict[str, str]:
        """What the controls have: they may have been made anew, or taken away."""
        found: dict[str, str] = {}
        for name in dict.fromkeys(control_named(run, kind) for kind in self.kinds):
            found |= made_of(run.workspace, name)
        return found

    def is_whole(self, run: Any) -> bool:
        names = [one.run for one in against_controls(run).controls.values()]
        asked = [run.workspace.run(name) / Ask.makes for name in names if run.workspace.has(name, Ask.makes)]
        return not self.ask or all(is_finished(AskSummary.of(folder)) for folder in asked)

    def shown(self, run: Any) -> AgainstControls:
        return against_controls(run)

    def line(self, run: Any, shown: AgainstControls) -> str:
        left_out = f", {len(shown.missing)} not measured" if shown.missing else ""
        return f"{len(shown.controls)} controls{left_out}, in {run.folder / self.makes}"

    def check_explained(self, run: Any) -> None:
        """Raise `UserError` where a run has nothing to be held against anything."""
        if not any(run.has(name) for name in _SCORED):
            raise UserError(
                f"Run {run.name!r} has no explanations yet.",
                "a run that is explained, for that is what its controls are held against",
                f"run `sparselex explain {run.workspace.typed} --run {run.name}`.",
            )
        if run.has(Explain.makes):
            self._check_made_alike(run, run.manifest(Explain.makes))

    def _check_made_alike(self, run: Any, made: Manifest) -> None:
        """Raise `UserError` where controls would be explained by another version of the explainer than the run was."""
        name = made.config["explainer"]
        by = made_by(name)
        if any(made.inputs.get(role) != version for role, version in by.items()):
            raise UserError(
                f"Run {run.name!r} was explained by another version of {name!r} than would explain its controls.",
                "explanations by the same version, for others cannot be compared",
                f"run `sparselex explain {run.workspace.typed} --run {run.name}` again first.",
            )


def is_finished(found: AskSummary) -> bool:
    """Whether a language model has said all that it was to say."""
    return not (found.stopped or found.n_failed or found.n_left)


def made_of(workspace: Workspace, name: str) -> dict[str, str]:
    """Ids of the explanations that a control has, by run and artifact."""
    if not workspace.has_run(name):
        return {}
    artifacts = workspace.artifacts(name)
    return {f"{name}/{one}": artifacts[one].id for one in ("index", *_SCORED) if one in artifacts}


def against_controls(run: Any) -> AgainstControls:
    """What came of holding a run against its controls."""
    run.manifest(KIND)
    return AgainstControls.read(run.folder / KIND)
