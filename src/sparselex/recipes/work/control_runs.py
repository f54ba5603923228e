"""Make the controls of a run, each a run of its own, all but what is made of any run: index and explanations."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.files import flush, new_folder, put_back
from sparselex.base.locks import lock
from sparselex.base.seeds import derive
from sparselex.base.staging import stage as staged
from sparselex.dictionaries.controls.given import Given
from sparselex.dictionaries.directions import largest_along
from sparselex.dictionaries.files import write_dictionary
from sparselex.dictionaries.kinds import CONTROLS
from sparselex.dictionaries.table import AnyDictionaryConfig
from sparselex.dictionaries.types.topk import TopK
from sparselex.evaluate.moments import SAMPLE_TOKENS
from sparselex.recipes.config import RunConfig
from sparselex.recipes.control_runs import ControlConfig, control_is, standing
from sparselex.recipes.folder import RunFolder, stage_cards
from sparselex.recipes.run import Run
from sparselex.recipes.stages.train import Train
from sparselex.recipes.work.directions import is_activation, nobody_writes, reader_of
from sparselex.recipes.work.forecast import duration, forecast, speed_of
from sparselex.recipes.work.import_ import sample_of

Say = Callable[[str], None]
"""Tells a person what is done."""

NO_RECIPE = "the run's dictionary was not trained here, so that there is no recipe to train another one by"
"""Why an imported dictionary has no such control."""

_N_STEPS = 8
"""Steps of a pursuit, which nothing here takes: directions alone are wanted."""

_POLED = ("neurons", "pca", "ica")
"""Kinds of which either way along a direction is something of its own."""


class Made(Config):
    """What the dictionary of a control was made of."""

    control: ControlConfig
    """Which directions."""

    dictionary: AnyDictionaryConfig
    """What they became."""


def directions_run(of: RunFolder, name: str, wanted: ControlConfig, *, replace: bool) -> Run:
    """The run `name` with the directions of a control in the place of a dictionary, reading what `of` reads. Made
    already, it is not made again. Raises `UserError` like `recipes.control_runs.standing`."""
    folder = of.workspace.run(name)
    put_back(folder)
    if not standing(of, name, wanted, replace=replace):
        with lock(folder.with_name(f".{name}.lock"), f"making run {name!r}"):
            if not standing(of, name, wanted, replace=replace):  # another process may have made it meanwhile
                _make(of, name, wanted)
    return Run.open(of.workspace, name)


def trained_run(of: RunFolder, name: str, config: RunConfig, *, replace: bool, say: Say) -> Run:
    """The run `name` with a dictionary that was trained as `config` says; killed, it goes on. Raises `UserError` like
    `Run.do`, and where there is a run of that name that is no control of `of`."""
    if name in of.workspace.begun() and of.workspace.card(name).twin_of != of.name:
        raise UserError(
            f"There is a run {name!r} already, and it is no control of run {of.name!r}.",
            "no run of that name, which a control is to have",
            "leave that kind out of --kinds, or move the run to another name.",
        )
    if of.workspace.has(name, Train.makes) and control_is(of.workspace, name, config):
        return Run.open(of.workspace, name)
    run = Run.create(of.workspace, name, config)
    run.goes_on = of.goes_on
    for verb in (verb for verb in ("harvest", Train.verb) if verb in config.stages):
        stage = run.stage(verb)
        if not run.is_done(stage):
            seconds = forecast(run, stage, speed_of(run))
            say(f"{name}: {verb}" + (f" (about {duration(seconds)})" if seconds else ""))
        run.do(stage, replace=replace)
    return Run.open(of.workspace, name)


def _make(of: RunFolder, name: str, wanted: ControlConfig) -> None:
    run = reader_of(of)
    card, folder = of.workspace.card(of.name), of.workspace.run(name)
    dictionary, notes = _fitted(run, wanted)
    made = Made.parse({"control": wanted.to_json(), "dictionary": dictionary.config.to_json()})
    inputs = {"model": run.model.id, "corpus": run.corpus.id, **run.sites.names()}
    stages = {verb: options for verb, options in run.config.stages.items() if verb in ("index", "explain")}
    kept = run.config.model_copy(update={"twin_of": of.name}).with_stages(stages)
    told = {"name": name, "twin_of": of.name, "sites": run.sites, "stages": stage_cards()}
    with nobody_writes(folder), new_folder(folder, replaces=True) as aside:
        with staged(aside / "dictionary", "dictionary", made, inputs) as staging:
            write_dictionary(dictionary, staging.folder, model_name=run.config.model.name, sites=run.sites)
            staging.finish(notes | {"sample": sample_of(run, dictionary)})
        of.workspace.keep(card.model_copy(update=told), kept.to_json(), aside)
    flush(folder.parent)


def _fitted(run: Run, wanted: ControlConfig) -> tuple[TopK, dict[str, Any]]:
    """The directions, the largest of each token active, and what is noted of them."""
    x = torch.cat([batch.x for batch in run.reader.batches(["train"], most_rows=max(1, _rows(run)))])
    if len(x) < 2:
        raise UserError(
            f"The text of run {run.name!r} has no tokens to train on.",
            "training text, from which directions are drawn",
            "choose other --shares for a new run.",
        )
    mean = x.mean(0, dtype=torch.float64).to(x.dtype)
    rows, values = _rows_of(run, wanted, x, mean)
    bias = torch.zeros(len(rows)) if values == "as they are" else -(rows @ mean)
    dictionary = largest_along(rows, bias, wanted.k, mean, tuple(place.width for place in run.reader.places))
    notes = {"control": {"values": values, "n_tokens": len(x)}, "median_norms": run.reader.median_norms.tolist()}
    return dictionary, notes


def _rows(run: Run) -> int:
    return SAMPLE_TOKENS // run.corpus.n_ctx


def _rows_of(run: Run, wanted: ControlConfig, x: Tensor, mean: Tensor) -> tuple[Tensor, str]:
    """Unit rows, and what a value along one is: of neurons behind their activation function the value itself, else how
    far a token lies from the mean, either way of which is a latent where directions have two."""
    if wanted.kind == "neurons" and is_activation(run):
        return torch.eye(x.shape[1]), "as they are"
    centred = (x - mean).double()
    generator = torch.Generator().manual_seed(derive(wanted.seed, "control", wanted.kind))
    k = min(wanted.k, x.shape[1])
    given = Given(mean, centred.T @ centred / len(x), lambda: x, wanted.d_sae, k, generator, _N_STEPS)
    rows = CONTROLS.get(wanted.kind)(given).W_dec.detach()
    return (torch.cat([rows, -rows]) if wanted.kind in _POLED else rows), "from the mean"
