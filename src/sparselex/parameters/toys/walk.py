"""Decompose a toy whose mechanisms are known: the walk from its training to figures beside a control."""

from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.base.figures import Figures
from sparselex.base.files import write_file, write_json
from sparselex.base.seeds import derive
from sparselex.base.staging import stage
from sparselex.base.workspace import Workspace
from sparselex.parameters.decompose import decompose
from sparselex.parameters.figures import Units, figures_of, with_controls
from sparselex.parameters.found import Found, check_replaced
from sparselex.parameters.measured import measure
from sparselex.parameters.records import KIND, REPORT, WEIGHTS, Decomposition, decomposition_of
from sparselex.parameters.toys.config import TOYS, TmsConfig, ToyConfig
from sparselex.parameters.toys.figures import known_figures
from sparselex.parameters.toys.known import nearness, random_nearness
from sparselex.parameters.toys.tms import EMBED, Tms, draw_active, draw_features, train_tms

CONTROL = "untrained"
"""The toy as it was drawn, decomposed alike."""

_DISTANCE = "mean squared difference"


def decompose_toy(
    workspace: Workspace, name: str, config: ToyConfig | None = None, *, replace: bool = False
) -> Decomposition:
    """Train a toy model of superposition, decompose it, and say how near its components come to its mechanisms; beside
    it the same of the toy with the weights that it began with.

    All of it lies under `decompositions/<name>` of the workspace; killed at any moment and called again, it goes on.

    Args:
        name: one of `TOYS`.
        config: other settings than that toy's own.
        replace: whether one with other settings may be replaced.

    Raises `UserError` for an unknown name, and where one of other settings is there that is not to be replaced.
    """
    config, to = config or known_toy(name), workspace.path / "decompositions" / name
    check_replaced(to, f"the toy {name!r}", config, {}, replace=replace)
    with stage(to, KIND, config, {}, resumes=True) as staging:
        if not staging.made:
            found = _decomposed(config, config.toy, name, staging.folder / "checkpoint.safetensors")
            untrained = config.toy.model_copy(update={"n_steps": 0})
            control = _decomposed(
                config, untrained, f"{name}, {CONTROL}", staging.folder / f"checkpoint-{CONTROL}.safetensors"
            )
            report = _report(name, config, found, control)
            # Not save_file: it hides why the disk refused.
            write_file(staging.folder / WEIGHTS, save({**found.tensors(), "target.bias": _bias(found)}))
            write_json(staging.folder / REPORT, report.to_json())
            Figures(figures=report.figures, controls={CONTROL: control.figures}).write(staging.folder)
            staging.finish(files=dict.fromkeys([WEIGHTS, REPORT, "figures.json"]))
    return decomposition_of(to)


def known_toy(name: str) -> ToyConfig:
    """The settings of a toy. Raises `UserError` for an unknown name."""
    if name not in TOYS:
        raise UserError(f"There is no toy {name!r}.", f"one of {', '.join(TOYS)}", "choose one of these.")
    return TOYS[name]


def _decomposed(config: ToyConfig, toy: TmsConfig, about: str, checkpoint: Path) -> Found:
    target = train_tms(toy, config.seed)
    parts = decompose(target, partial(_draw, toy), config.spd, checkpoint, about)
    draws = lambda purpose: torch.Generator().manual_seed(derive(config.seed, purpose))
    x = draw_features(config.n_inputs, toy, draws("inputs"))
    found = measure(target, [x], parts, config.attack, draws("masks"))
    live, embed = found.live[EMBED], parts[EMBED]
    weight = target.weights[EMBED]
    near = nearness(weight, embed.U[live], embed.V[live])
    random = random_nearness(weight, max(1, int(live.sum())), draws("random components"))
    figures = [*known_figures(near, random), *figures_of(found, _DISTANCE, Units("inputs"))]
    return Found(target, parts, found, figures)


def _draw(toy: TmsConfig, n: int, generator: torch.Generator) -> Tensor:
    return draw_active(n, toy, generator)


def _report(name: str, config: ToyConfig, found: Found, control: Found) -> Decomposition:
    toy = config.toy
    middle = ", an identity in between" if toy.identity else ""
    return Decomposition(
        name=name,
        target=f"toy model of superposition, {toy.n_features} features in {toy.d_hidden} dimensions{middle}",
        n_inputs=config.n_inputs,
        n_steps=config.spd.n_steps,
        matrices=found.matrices(),
        control=f"{CONTROL}: the same toy with the weights that its training began with",
        control_matrices=control.matrices(),
        figures=with_controls(found.figures, {CONTROL: control.figures}),
    )


def _bias(found: Found) -> Tensor:
    assert isinstance(found.target, Tms)
    return found.target.bias.detach().contiguous()
