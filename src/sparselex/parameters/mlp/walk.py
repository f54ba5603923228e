"""Decompose the MLP of one block of a language model: the walk from its text to figures beside those of a control."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from sparselex.activations.live import spread
from sparselex.base.errors import UserError
from sparselex.base.figures import Figures
from sparselex.base.files import write_file, write_json
from sparselex.base.seeds import derive
from sparselex.base.staging import stage
from sparselex.lm.subject import SubjectModel
from sparselex.parameters.decompose import decompose
from sparselex.parameters.figures import Units, figures_of, with_controls
from sparselex.parameters.found import Found, check_replaced
from sparselex.parameters.gates import importance
from sparselex.parameters.losses import Parts, gates_of
from sparselex.parameters.measured import measure
from sparselex.parameters.mlp.config import MlpConfig
from sparselex.parameters.mlp.target import MlpTarget, text_positions
from sparselex.parameters.records import (
    COMPONENTS,
    CONTROL_WEIGHTS,
    KIND,
    REPORT,
    WEIGHTS,
    ComponentTable,
    Decomposition,
    Matrix,
    decomposition_of,
)
from sparselex.parameters.table import component_table
from sparselex.text.rows import TokenRows
from sparselex.text.splits import Split

CONTROL = "twin"
"""The model with weights that were not learned, decomposed alike."""

FIGURES_SPLIT: Split = "test"
"""Nothing was trained on it."""

_DISTANCE = "KL(model || masked) in nats"
_PASS_TOKENS = 1024
"""Tokens measured at a time: log-probabilities of some thousands of tokens each."""


class Subjects(NamedTuple):
    """What is decomposed, and what stands beside it."""

    model: SubjectModel
    """The model."""

    control: SubjectModel
    """The same with weights that were not learned."""

    said: str
    """What that is, in words."""


def decompose_mlp(
    to: Path, name: str, subjects: Subjects, corpus: TokenRows, config: MlpConfig, *, run: str, replace: bool = False
) -> Decomposition:
    """Decompose the MLP of a block through the predictions of its model, and the same of the control; measure both on
    text that none of it was trained on.

    All of it lies in the folder `to`; killed at any moment and called again, it goes on and ends in the same bytes.

    Args:
        name: what it is called; its components are those of the runs that `run_of` names.
        run: the run whose model and text these are.
        replace: whether one with other settings may be replaced.

    Raises `UserError` where the block's MLP cannot be taken apart, the text is too short, or a decomposition with other
    settings is there that is not to be replaced.
    """
    targets = [MlpTarget(model, corpus, config.layer) for model in (subjects.model, subjects.control)]
    check_text(corpus, config)
    inputs = {"model": subjects.model.id, CONTROL: subjects.control.id, "corpus": corpus.id}
    check_replaced(to, f"block {config.layer} of run {run!r}", config, inputs, replace=replace)
    with stage(to, KIND, config, inputs, resumes=True) as staging:
        if not staging.made:
            found, control = (
                _decomposed(target, config, about, staging.folder / f"checkpoint-{number}.safetensors")
                for number, (target, about) in enumerate(zip(targets, (name, f"{name}, {CONTROL}"), strict=True))
            )
            report = _report(name, run, subjects, config, found[0], control[0])
            write_file(staging.folder / WEIGHTS, save(found[0].tensors()))  # not save_file: it hides the disk's answer
            write_file(staging.folder / CONTROL_WEIGHTS, save(control[0].tensors()))
            write_json(staging.folder / REPORT, report.to_json())
            write_json(staging.folder / COMPONENTS, found[1].to_json())
            Figures(figures=report.figures, controls={CONTROL: control[0].figures}).write(staging.folder)
            staging.finish(files=dict.fromkeys([WEIGHTS, CONTROL_WEIGHTS, REPORT, COMPONENTS, "figures.json"]))
    return decomposition_of(to)


def run_of(name: str, matrix: str) -> str:
    """The run whose latents are the components of a matrix."""
    return f"{name}-{matrix}"


def check_text(corpus: TokenRows, config: MlpConfig) -> None:
    """Raise `UserError` where there is too little text to train on or to measure by."""
    needed: dict[Split, int] = {"train": max(config.spd.n_components, config.spd.batch_size), FIGURES_SPLIT: 2}
    for split, n in needed.items():
        rows = corpus.row_ranges[split]
        there = int(corpus.text_mask(rows).sum()) if len(rows) else 0
        if there < n:
            raise UserError(
                f"The {split} split has {there:,} tokens of text, and {n:,} are needed.",
                "as many tokens to train on as components or inputs of a step, and some to measure by",
                "give the run more text, or lower --n-components or --batch-size.",
            )


def _decomposed(target: MlpTarget, config: MlpConfig, about: str, checkpoint: Path) -> tuple[Found, ComponentTable]:
    """Components, what was measured of them, and the components one by one."""
    inputs = partial(target.draw, target.corpus.row_ranges["train"])
    parts = decompose(target, inputs, config.spd, checkpoint, about)
    batches = list(_batches(target.corpus, config.n_inputs))
    importances = _oriented(parts, target, batches)
    generator = torch.Generator().manual_seed(derive(config.seed, "masks"))
    attacked = _spread_out(target, sum(map(len, batches)), config.attack.n_inputs)
    found = measure(target, batches, parts, config.attack, generator, loss=target.cross_entropy, attacked=attacked)
    documents = target.corpus.documents.reshape(-1)[torch.cat(batches).numpy()].astype(np.int64)
    figures = figures_of(found, _DISTANCE, Units("documents", documents))
    return Found(target, parts, found, figures), component_table(parts, importances)


def _batches(corpus: TokenRows, n: int) -> Iterator[Tensor]:
    """Tokens to measure by, `n` or as many as there are: whole rows, at even distances."""
    n_ctx = corpus.n_ctx
    rows = spread(corpus.row_ranges[FIGURES_SPLIT], -(-n // n_ctx))
    at_once = max(1, _PASS_TOKENS // n_ctx)
    for start in range(0, len(rows), at_once):
        found = text_positions(corpus, rows[start : start + at_once])
        if len(found):
            yield torch.from_numpy(found)


def _spread_out(target: MlpTarget, n: int, most: int) -> Tensor | None:
    """At most so many of `n` tokens, from as many documents as there are where tokens are run alone; else the first, of
    whole rows."""
    return torch.arange(n)[:: -(-n // most)] if target.alone else None


@torch.no_grad()
def _oriented(parts: Parts, target: MlpTarget, batches: list[Tensor]) -> dict[str, Tensor]:
    """Importances on all inputs. `U`, `V` and the networks of a component may change sign together; the sign is taken
    that makes most of its important activations positive."""
    importances: dict[str, list[Tensor]] = {name: [] for name in parts}
    sums = {name: torch.zeros(one.n_components) for name, one in parts.items()}
    for x in batches:
        there = target.run(x, {})
        for name, gates in gates_of(parts, there).items():
            g = importance(gates)
            importances[name].append(g)
            sums[name] += (g * parts[name].inner(there.inputs[name])).sum(0)
    for name, one in parts.items():
        sign = torch.where(sums[name] < 0, -1.0, 1.0)[:, None]
        for tensor in (one.V, one.U, one.gate_in):
            tensor.mul_(sign)
    return {name: torch.cat(found) for name, found in importances.items()}


def _report(name: str, run: str, subjects: Subjects, config: MlpConfig, found: Found, control: Found) -> Decomposition:
    target = found.target
    assert isinstance(target, MlpTarget)
    return Decomposition(
        name=name,
        target=f"the MLP of block {config.layer} of {subjects.model.name}",
        n_inputs=len(next(iter(found.measured.active.values()))),
        n_steps=config.spd.n_steps,
        matrices=_placed(name, target, found.matrices()),
        control=f"{CONTROL}: {subjects.said}",
        control_matrices=_placed(name, target, control.matrices(), f"-{CONTROL}"),
        run=run,
        layer=config.layer,
        figures=with_controls(found.figures, {CONTROL: control.figures}),
    )


def _placed(name: str, target: MlpTarget, found: list[Matrix], suffix: str = "") -> list[Matrix]:
    """The matrices with where they read and write, and the run that has their components."""
    places = target.mlp
    at = {one.name: (places.read, one.hook) for one in places.first}
    at[places.last.name] = (places.hidden, places.written)
    told = lambda one: {
        "hook": str(at[one.name][0]),
        "writes": str(at[one.name][1]),
        "run": run_of(name, one.name) + suffix,
    }
    return [one.model_copy(update=told(one)) for one in found]
