"""What is put to a task beside the supervised dictionary: trained types, controls of them, and directions that nothing
was trained to find."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sparselex.activations.source import Batch
from sparselex.base.errors import UserError
from sparselex.base.progress import progress, silent
from sparselex.base.seeds import derive
from sparselex.base.sites import Hook
from sparselex.dictionaries.controls.given import Given
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.dictionaries.kinds import CONTROLS
from sparselex.dictionaries.table import config_type, reads_one_site
from sparselex.evaluate.supervised.ahead import n_processes, others
from sparselex.evaluate.supervised.config import TaskConfig
from sparselex.evaluate.supervised.nodes import Node
from sparselex.evaluate.supervised.records import FROZEN, GENERAL_TEXT
from sparselex.tasks.records import END
from sparselex.training.calibrate import Columns
from sparselex.training.config import TrainConfig
from sparselex.training.train import Job, train_many

BATCH = 512
LEAST_LATENTS = 4

Group = Mapping[Node, Dictionary]
"""A dictionary for each node of a place."""


class OfRun(NamedTuple):
    """A dictionary that is there already, of one site, trained on whatever text."""

    name: str
    """What it is called."""

    hook: Hook
    """Its site."""

    dictionary: Dictionary
    """What encodes and decodes."""

    id: str
    """Hash of what it was made of."""

    def at(self, nodes: Sequence[Node]) -> bool:
        """Whether it is of the site of all these nodes, at the last token."""
        return all(node == (self.hook, END) for node in nodes)


class Contestant(NamedTuple):
    """One kind of dictionary at one sparsity."""

    name: str
    """What it is."""

    setting: str
    """How sparse it was asked to be."""

    groups: Sequence[Group]
    """One for each seed."""

    run: OfRun | None = None
    """The run whose dictionary it is; None for what is made for the task."""


class PromptValues:
    """The values at some nodes side by side, prompt after prompt in an order that is drawn anew each time."""

    def __init__(self, values: Float[Tensor, "n d"], seed: int, batch_size: int = BATCH):
        self.values, self.seed, self.batch_size = values, seed, min(batch_size, len(values))
        self.d_in, self.d_out = values.shape[1], None
        self._batch = 0

    def next_batch(self) -> Batch:
        """The next prompts; those that are left at the end of a turn are left out."""
        per_turn = len(self.values) // self.batch_size
        turn, place = divmod(self._batch, per_turn)
        order = torch.randperm(len(self.values), generator=_generator(self.seed, "turn", turn))
        rows = order[place * self.batch_size : (place + 1) * self.batch_size]
        self._batch += 1
        return Batch(self.values[rows], rows.numpy().astype(np.int64))

    def state(self) -> dict[str, Any]:
        """The number of the next batch."""
        return {"batch": self._batch}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go to a batch."""
        self._batch = state["batch"]


class Recipe(NamedTuple):
    """One dictionary to be trained for every node."""

    name: str
    """What it is."""

    setting: str
    """How sparse it is asked to be."""

    options: Mapping[str, Any]
    """Fields of its training."""

    seed: int
    """Which of the seeds."""


def trained(
    where: str,
    values: Mapping[Node, Float[Tensor, "n d"]],
    config: TaskConfig,
    to: Path,
    inputs: Mapping[str, str],
    *,
    general: bool = False,
) -> list[Contestant]:
    """Every type at every sparsity and seed, for every node; what is there already is kept. `where` names the place to
    whoever waits, `to` is the folder of all of them, `general` says that the values are those of text of all kinds."""
    recipes = recipes_of(config, general=general)
    n = n_processes(len(recipes) * len(values))
    with progress(f"train at {where}", len(recipes), "dictionaries a node") as bar, _silent():
        with others(values, config, to, inputs, n, general=general) as wait:
            for recipe in recipes[::n]:
                made_of(recipe, values, config, to, inputs)
                bar.advance(n)
            wait()
        groups: dict[tuple[str, str], list[Group]] = {}
        for recipe in recipes:
            groups.setdefault(recipe[:2], []).append(made_of(recipe, values, config, to, inputs))
    return [Contestant(*key, found) for key, found in groups.items()]


def made_of(
    recipe: Recipe,
    values: Mapping[Node, Float[Tensor, "n d"]],
    config: TaskConfig,
    to: Path,
    inputs: Mapping[str, str],
) -> Group:
    """The dictionaries of one recipe, for all nodes from one reading of the prompts' values."""
    columns, start = dict[Node, Columns](), 0
    for node, value in values.items():
        columns[node] = Columns(slice(start, start + value.shape[1]), slice(start, start + value.shape[1]))
        start += value.shape[1]
    name, setting, options, seed = recipe
    jobs = [
        Job(
            _training(values[node].shape[1], options, config, seed),
            to / f"{number}-{_word(name)}-{_word(setting)}-{seed}",
            {**inputs, "node": str(node)},
            columns=columns[node],
        )
        for number, node in enumerate(values)
    ]
    source = PromptValues(torch.cat([*values.values()], dim=1), derive(config.seed, "order", seed))
    return dict(zip(values, map(_checked, train_many(source, jobs)), strict=True))


def recipes_of(config: TaskConfig, *, general: bool) -> list[Recipe]:
    """All that is trained at a place, in its order: on prompts, with the control of it, or on text of all kinds."""
    found = list[Recipe]()
    for kind in config.general if general else config.kinds:
        field, amounts = _choice(kind, config)
        name = f"{kind}, {GENERAL_TEXT}" if general else kind
        for amount in amounts:
            options: dict[str, Any] = {"dictionary": {"kind": kind, field: amount}}
            found += [Recipe(name, f"{field}={amount:g}", options, seed) for seed in range(config.n_seeds)]
    for k in () if general else config.l0s:
        options = {"dictionary": {"kind": "topk", "k": k}, "frozen": "decoder"}
        found += [Recipe(FROZEN, f"k={k}", options, seed) for seed in range(config.n_seeds)]
    return found


def check_recipes(config: TaskConfig, widths: Iterable[int]) -> None:
    """Raise `UserError` where one of them could not be trained on values of one of these widths."""
    for d_in in widths:
        if odd := [kind for kind in (*config.kinds, *config.general) if not reads_one_site(kind, d_in)]:
            said = f"Dictionaries of kind {odd[0]!r} are of several sites, or read one and write another."
            raise UserError(said, "autoencoders of one site", "leave it out of the kinds.")
        for recipe in (*recipes_of(config, general=False), *recipes_of(config, general=True)):
            _training(d_in, recipe.options, config, recipe.seed)


@contextmanager
def _silent() -> Iterator[None]:
    """No bars and warnings of each of hundreds of small dictionaries: how many latents they leave silent is among what
    is measured of them."""
    log = logging.getLogger("sparselex.training")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with silent():
            yield
    finally:
        log.setLevel(before)


def of_runs(runs: Sequence[OfRun], nodes: Sequence[Node]) -> Iterator[Contestant]:
    """Those that are of a place."""
    for run in runs:
        if run.at(nodes):
            yield Contestant(f"run {run.name}", "", [dict.fromkeys(nodes, run.dictionary)], run)


def given(values: Mapping[Node, Float[Tensor, "n d"]], config: TaskConfig) -> Iterator[Contestant]:
    """Directions that nothing was trained to find: the coordinates and principal components, all of them, and random
    rows at every number of active latents."""
    for name in ("pca", "neurons"):
        made = {node: _control(name, x, x.shape[1], config, 0) for node, x in values.items()}
        yield Contestant(name, "all", [made])
    for k in config.l0s:
        groups = [
            {node: _control("random", x, k, config, seed) for node, x in values.items()}
            for seed in range(config.n_seeds)
        ]
        yield Contestant("random", f"k={k}", groups)


def _choice(kind: str, config: TaskConfig) -> tuple[str, Sequence[int | float]]:
    """By what field a type is asked how sparse to be, and the values that it is given."""
    asked = config_type(kind)
    for choice, amounts in (("k", config.l0s), ("l1", config.l1s)):
        if field := asked.field_of(choice):
            return field, amounts
    raise UserError(
        f"Dictionaries of kind {kind!r} are not asked how sparse to be by a number of latents or a coefficient.",
        "a type with one of them",
        "leave it out of the kinds.",
    )


def _training(d_in: int, options: Mapping[str, Any], config: TaskConfig, seed: int) -> TrainConfig:
    d_sae = max(LEAST_LATENTS, min(round(config.expansion * d_in), config.most_latents))
    dictionary = {"d_in": d_in, "d_sae": d_sae, **options["dictionary"]}
    rest = {name: value for name, value in options.items() if name != "dictionary"}
    return TrainConfig.parse(
        {
            "dictionary": dictionary,
            "n_tokens": config.n_tokens,
            "batch_size": BATCH,
            "dead_after_tokens": max(BATCH, config.n_tokens // 10),
            "checkpoint_tokens": 10 * config.n_tokens,
            "seed": derive(config.seed, "dictionary", seed) % 2**32,
            **rest,
        },
        "the training at a place",
    )


def _control(name: str, x: Float[Tensor, "n d"], k: int, config: TaskConfig, seed: int) -> Dictionary:
    d_sae = max(LEAST_LATENTS, min(round(config.expansion * x.shape[1]), config.most_latents))
    return CONTROLS.get(name)(
        Given(
            x.mean(0),
            torch.cov(x.T.double(), correction=0).float(),
            lambda: x,
            d_sae,
            min(k, x.shape[1]),
            _generator(config.seed, "control", name, seed),
            k,
        )
    )


def _checked(made: Dictionary | UserError) -> Dictionary:
    if isinstance(made, UserError):
        raise made
    return made


def _word(text: str) -> str:
    return text.replace(",", "").replace(" ", "-").replace("=", "")


def _generator(seed: int, *purpose: str | int) -> torch.Generator:
    return torch.Generator().manual_seed(derive(seed, *purpose))
