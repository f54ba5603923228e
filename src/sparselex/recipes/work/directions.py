"""Make a run of directions: fit where each is active, and put the run in place, whole or not at all."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.files import flush, new_folder
from sparselex.base.locks import lock
from sparselex.base.staging import stage as staged
from sparselex.convert.directions import Directions, read_directions
from sparselex.dictionaries.directions import along, levels
from sparselex.dictionaries.files import write_dictionary
from sparselex.dictionaries.table import AnyDictionaryConfig
from sparselex.dictionaries.types.jumprelu import JumpReLU
from sparselex.recipes.directions import NEURONS, DirectionsConfig
from sparselex.recipes.folder import RunFolder, stage_cards
from sparselex.recipes.run import Run
from sparselex.recipes.work.import_ import sample_of

_log = logging.getLogger(__name__)

SAMPLE_TOKENS = 32_768
"""Tokens of training text by which it is found where directions are active: a share of 0.01 is then known to a
twentieth."""

ACTIVE_SHARE = 0.01
"""Share of tokens on which a direction is active, where nothing else is said: about that of a sparse latent."""


class Made(Config):
    """What the dictionary of a run of directions was made of."""

    directions: DirectionsConfig
    """Where they came from."""

    dictionary: AnyDictionaryConfig
    """What they became."""


def make_run(of: RunFolder, name: str, config: DirectionsConfig) -> Run:
    """The run `name` with the dictionary of these directions, reading what `of` reads. Raises like
    `recipes.directions.run_of_directions`."""
    run, card = reader_of(of), of.workspace.card(of.name)
    given = _given(run, config)
    dictionary, notes = _fitted(run, given, config)
    made = Made.parse({"directions": config.to_json(), "dictionary": dictionary.config.to_json()})
    inputs = {"model": run.model.id, "corpus": run.corpus.id, **run.sites.names()}
    index = {verb: options for verb, options in run.config.stages.items() if verb == "index"}
    kept = run.config.model_copy(update={"twin_of": None}).with_stages(index)
    told = {"name": name, "twin_of": None, "sites": run.sites, "stages": stage_cards()}
    folder = of.workspace.run(name)
    with nobody_writes(folder), new_folder(folder, replaces=True) as aside:
        with staged(aside / "dictionary", "dictionary", made, inputs) as staging:
            write_dictionary(dictionary, staging.folder, model_name=run.config.model.name, sites=run.sites)
            staging.finish(notes | {"sample": sample_of(run, dictionary)})
        of.workspace.keep(card.model_copy(update=told), kept.to_json(), aside)
    flush(folder.parent)
    return Run.open(of.workspace, name)


def reader_of(of: RunFolder) -> Run:
    """The run `of` to read its place by: where its card says that it reads, and nothing to be reconstructed from it."""
    run = Run(of.workspace, of.name, of.config.model_copy(update={"target": None}), goes_on=True)
    card = of.workspace.card(of.name)
    if card.sites is not None:
        run.read_at("+".join(card.sites.hooks), None)
    return run


@contextlib.contextmanager
def nobody_writes(folder: Path) -> Iterator[None]:
    """Hold what stages hold that write into a run. Raises `UserError` where one is at work: its run is not replaced."""
    with contextlib.ExitStack() as held:
        for path in folder.glob(".*.lock"):
            held.enter_context(lock(path, f"writing into {folder}"))
        yield


def _given(run: Run, config: DirectionsConfig) -> Directions:
    """The directions, as wide as what the run reads."""
    width, hooks = run.reader.d_in, "+".join(run.sites.hooks)
    if config.source == NEURONS:
        return Directions(torch.eye(width), None)
    given = read_directions(config.source)
    if given.rows.shape[1] != width:
        raise UserError(
            f"{config.source} has {len(given.rows):,} directions of width {given.rows.shape[1]}, and {hooks}, which "
            f"run {run.name!r} reads, is {width} wide.",
            f"a direction a row, each of {width} numbers",
            "name a run that reads the place they are directions of (--run), or turn the table.",
        )
    return given


def _fitted(run: Run, given: Directions, config: DirectionsConfig) -> tuple[JumpReLU, dict[str, Any]]:
    n_rows = -(-SAMPLE_TOKENS // run.corpus.n_ctx)
    x = torch.cat([batch.x for batch in run.reader.batches(["train"], most_rows=n_rows)])
    if len(x) < 2:
        raise UserError(
            f"The text of run {run.name!r} has no tokens to train on.",
            "training text, on which it is found where directions are active",
            "choose other --shares for a new run.",
        )
    is_probe = given.bias is not None
    share = config.active_share or (None if is_probe else ACTIVE_SHARE)
    # A neuron's value is its own; that of any other direction without a bias is the distance from the mean token.
    bias = torch.zeros(len(given.rows)) if config.source == NEURONS and is_activation(run) else given.bias
    level = levels(given.rows, bias, x, share)
    dictionary = along(given.rows, level, x.mean(0), tuple(place.width for place in run.reader.places))
    notes = {
        "directions": {
            "active_share": share,
            "values": "as they are"
            if bias is not None and not is_probe
            else "plus bias"
            if is_probe
            else "from the mean",
            "n_tokens": len(x),
        },
        "median_norms": run.reader.median_norms.tolist(),
    }
    return dictionary, notes


def is_activation(run: Run) -> bool:
    """Whether what is read are the values of neurons, behind their activation function, and 0 is silence."""
    return all(hook.site.endswith("mlp.hook_post") for hook in run.sites.hooks)
