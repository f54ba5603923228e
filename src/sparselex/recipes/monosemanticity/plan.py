"""The steps of the recipe: which stage of which run, with which options. Nothing here loads PyTorch."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from sparselex.atlas.analyses import ANALYSES, verb_of
from sparselex.evaluate.monosemanticity.records import Roles
from sparselex.recipes.config import RunConfig, new_run
from sparselex.recipes.monosemanticity.config import MonosemanticityConfig

KIND, RECIPE = "relu", "2023"
"""What every dictionary is: the paper's autoencoder by the paper's schedule."""

CONTROLS = ("neurons", "permuted")
"""What the explanations are held against: the neurons, and the recipe on weights that were shuffled."""

ROLES = Roles(narrow="a0", main="a1", wide="a2", other_narrow="b0", other="b1", other_wide="b2")
"""Names of the runs, as near to the paper's A/0, A/1 and A/2 as names of folders may be."""

_COMPARED, _FEWER = (*ROLES.of_a, ROLES.other), 6
"""Runs of which latents are looked at and compared; of the others no more than a sixth of the training rows is indexed,
for what is told of them as a whole is measured on test documents."""

_FIRST = 1
"""Place of the width that is looked at: it is trained first, so that there is something to be looked at soon."""


class Step(NamedTuple):
    """One stage of one run."""

    run: str
    """Name of the run."""

    verb: str
    """The stage."""

    options: dict[str, Any]
    """Its options."""

    cost: float
    """Seconds that it takes on one free core at the size that is asked for, about; for the time left alone."""

    may_fail: bool = False
    """Whether the others go on where it cannot be done: an analysis, of which the report then says why."""


def run_config(config: MonosemanticityConfig, run: str) -> RunConfig:
    """What a run reads."""
    model = config.model if run in ROLES.of_a else config.other_model
    return new_run(model, config.text, n_tokens=config.n_tokens)


def steps(config: MonosemanticityConfig) -> list[Step]:
    """All of them, in order."""
    return [*_dictionaries(config), *_judged(config), *_analysed(config)]


def _dictionaries(config: MonosemanticityConfig) -> Iterator[Step]:
    for names, seed in ((ROLES.of_a, config.seed), (ROLES.of_b, config.seed + 1)):
        for place in (_FIRST, 0, 2):
            name, expansion, n_tokens = names[place], config.expansions[place], config.train_tokens[place]
            options = {
                "kind": KIND,
                "recipe": RECIPE,
                "expansion": expansion,
                "l1": config.l1,
                "n_tokens": n_tokens,
                "seed": seed,
            }
            yield Step(name, "train", options, n_tokens * _seconds_of_a_token(expansion))
            rows = config.index_rows if name in _COMPARED else max(1, config.index_rows // _FEWER)
            n_indexed = min(config.n_tokens, 0.2 * config.n_tokens + rows * 128)
            yield Step(name, "index", {"train_rows": rows}, n_indexed * (4e-5 + 1e-5 * expansion))


def _judged(config: MonosemanticityConfig) -> Iterator[Step]:
    size = config.n_tokens / 5_500_000
    for name in (ROLES.main, ROLES.narrow, ROLES.wide, ROLES.other):
        yield Step(name, "explain", {}, 60 * size)
    for name, expansion in zip(ROLES.every, 2 * config.expansions, strict=True):  # of explanations too, where there are
        controls = ["neurons", "random"] if name == ROLES.main else []
        yield Step(name, "evaluate", {"controls": controls}, 190 if controls else 45 + 3 * expansion)
    sweep = {
        "kinds": [KIND],
        "recipe": RECIPE,
        "expansions": list(config.expansions[:2]),
        "l1s": list(config.sweep_l1s),
        "n_tokens": config.sweep_tokens,
    }
    each = sum(map(_seconds_of_a_token, config.expansions[:2])) * config.sweep_tokens
    yield Step(ROLES.main, "sweep", sweep, len(config.sweep_l1s) * each)
    yield Step(ROLES.main, "controls", {"kinds": list(CONTROLS)}, config.train_tokens[_FIRST] * 2.5e-4 + 200 * size)
    yield Step(ROLES.main, "effects", {}, 120, may_fail=True)
    yield Step(ROLES.main, "map", _MAP, 60, may_fail=True)


_MAP = {
    "others": [ROLES.narrow],
    "n_neighbors": 15,
    "min_dist": 0.05,
    "n_components": 512,
    "clusters": "10d",
    "least_cluster": 3,
}
"""The paper's first map: A/0 and A/1 by all dimensions of their decoder columns, clusters found in ten dimensions."""


def _analysed(config: MonosemanticityConfig) -> Iterator[Step]:
    size, options = config.n_tokens / 5_500_000, _options(config)
    for name in ANALYSES:
        for run in _OF.get(name, (ROLES.main,)):
            mine = options.get(name, {}) if run == ROLES.main else {}
            yield Step(run, verb_of(name), mine, _COSTS.get(name, 20) * size, may_fail=True)


_COSTS = {"universality": 55, "splitting": 150, "relatives": 110, "automata": 50, "pinned": 40, "logits": 60}
"""Seconds of analyses at the default size, of those that take longer than some."""

_OF = {"census": (ROLES.main, ROLES.narrow, ROLES.wide, ROLES.other), "automata": (ROLES.narrow, ROLES.main)}
"""Runs of which an analysis is taken, where it is not the one that is looked at alone: the paper draws its automata of
the narrow dictionary."""


def _options(config: MonosemanticityConfig) -> dict[str, dict[str, Any]]:
    return {
        "universality": {"others": [ROLES.other]},
        "splitting": {"others": [ROLES.narrow, ROLES.wide]},
        "relatives": {"others": [ROLES.narrow, ROLES.wide]},
        "pinned": {"n_latents": config.n_pinned},
    }


def _seconds_of_a_token(expansion: float) -> float:
    """Seconds for training on one token, at 512 dimensions on one core."""
    return 4e-5 + 1.5e-5 * expansion
