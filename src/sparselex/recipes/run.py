"""A whole run as one value: what is read, what is trained, how it is indexed, explained and evaluated."""

import difflib
from collections.abc import Sequence
from typing import Any

from pydantic import Field, PositiveFloat, PositiveInt

from sparselex.activations.config import Precision, Prefetch
from sparselex.atlas.config import DiffConfig
from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.sites import Mask
from sparselex.base.workspace import MAIN
from sparselex.dictionaries.kinds import DICTIONARIES, Frozen, Kind, SelectionDtype
from sparselex.dictionaries.sparse.products import fastest_selection
from sparselex.dictionaries.table import config_type
from sparselex.evaluate.config import EvaluateConfig
from sparselex.explain.config import ExplainConfig
from sparselex.features.config import IndexConfig
from sparselex.lm.config import ModelConfig
from sparselex.text.corpus import CorpusConfig
from sparselex.training.config import TrainConfig

OF_SOME_TYPES = ("k", "l1", "selection", "skip")
"""Choices that only some types of dictionary have."""

FROM_SITES = ("d_in", "d_out", "parts", "layers_in", "layers_out")
"""Fields of a configuration that follow from where the model is read."""

_CHOSEN = ("dictionary", "n_tokens", "seed", "frozen")
"""Fields of a training configuration that a choice has by itself."""

ONE_SITE = ("archetypal",)
"""Types whose configuration has the fields of several sites, and refuses them."""


def field_of(kind: str, name: str) -> str | None:
    """The field that the choice `name` sets in the configuration of the type `kind`, or None where the type has no such
    thing."""
    fields = config_type(kind).model_fields
    if name == "k" and "k" not in fields:
        name = "target_l0"  # jumprelu: a number that is aimed at
    return name if name in fields else None


def check_fit(kinds: Sequence[str], choices: dict[str, Any], options: dict[str, Any]) -> None:
    """Raise `UserError` if one of the `choices` given, or of the `options` (fields of configurations), means nothing to
    any of `kinds`."""

    def takers(name: str, among: Sequence[str]) -> list[str]:
        fits = _takes if name in choices else _has
        return [kind for kind in among if fits(kind, name)]

    unfit = [name for name in [*choices, *options] if not takers(name, kinds)]
    if not unfit:
        return
    known = sorted({name for kind in kinds for name in config_type(kind).model_fields if _has(kind, name)})
    near = [near for name in unfit if name not in choices for near in difflib.get_close_matches(name, known, n=1)]
    types, names, plural = " and ".join(kinds), " and ".join(unfit), len(unfit) > 1
    where = [f"{name} with {', '.join(takers(name, DICTIONARIES.names())) or 'no type'}" for name in unfit]
    raise UserError(
        f"{' and '.join(f'{name}={(choices | options)[name]!r}' for name in unfit)} {'were' if plural else 'was'} "
        "given, and "
        f"dictionaries of type {types} have no such setting{'s' if plural else ''}.",
        f"{'; '.join(where)} ({types}: {', '.join(known)})",
        f"did you mean {' and '.join(near)}?" if near else f"leave {names} out, or choose another --kind.",
    )


def _takes(kind: str, name: str) -> bool:
    return field_of(kind, name) is not None and not (name == "skip" and kind in ONE_SITE)


def _has(kind: str, name: str) -> bool:
    return name not in ("kind", *FROM_SITES) and name in config_type(kind).model_fields


class TrainingChoice(Config):
    """The few choices about training that a person makes; the recipe fills in the rest from the data's width."""

    kind: Kind = "batchtopk"
    """Type of dictionary."""

    expansion: PositiveFloat = 8
    """Latents per dimension of the activations."""

    k: PositiveInt | None = None
    """Latents kept per token (topk, batchtopk, matryoshka, abstopk, archetypal; over all layers together for clt),
    aimed at (jumprelu) or steps (matching_pursuit); None takes the default of the type, 32 for all of these."""

    l1: PositiveFloat | None = None
    """Weight of the L1 penalty (relu, gated, panneal); None takes the default of the type."""

    n_tokens: PositiveInt | None = None
    """Tokens to train on, passing over the training documents as often as needed; None is one pass."""

    selection: SelectionDtype | None = None
    """Precision in which training chooses latents (types with k); None takes the fastest on this machine."""

    frozen: Frozen = "nothing"
    """What never learns, for controls: `decoder`, `soft_decoder` or `encoder`."""

    options: dict[str, Any] = Field(default_factory=dict)
    """Other fields of the type's configuration, by name."""

    skip: bool = False
    """Whether a transcoder also passes a linear function of its input."""

    prefetch: Prefetch = 0
    """Blocks of activations read ahead by a process of their own; 0 reads each when it is needed. The result is the
    same."""

    seed: int = 0
    """Seed of the weights and of the order of the data."""

    settings: dict[str, Any] = Field(default_factory=dict)
    """Other fields of the training configuration (`TrainConfig`), by name, where a person or a finished training
    decided them."""

    @classmethod
    def of(cls, config: TrainConfig, *, prefetch: int = 0) -> "TrainingChoice":
        """The choice from which a run at the same sites takes exactly `config`, whatever the recipe would fill in by
        then."""
        settings = config.to_json()
        dictionary: dict[str, Any] = settings.pop("dictionary")
        own = {name: settings.pop(name) for name in _CHOSEN[1:]}
        own |= {name: dictionary.pop(name) for name in ("kind", *OF_SOME_TYPES) if name in dictionary}
        own["expansion"] = dictionary.pop("d_sae") / dictionary["d_in"]
        options = {name: value for name, value in dictionary.items() if name not in FROM_SITES}
        values = own | {"options": options, "settings": settings, "prefetch": prefetch}
        return cls.parse(values, "the training configuration")

    def check(self, *, has_target: bool) -> None:
        """Raise `UserError` for what was chosen and means nothing to the type; `has_target` is whether the run's
        dictionary is a transcoder.

        Choices are not held to this when they are made: runs of earlier versions keep values that their type never used
        (`as_used`).
        """
        given = [name for name in OF_SOME_TYPES if getattr(self, name)]
        check_fit([self.kind], {name: getattr(self, name) for name in given}, self.options)
        for name in given:
            if (field := field_of(self.kind, name)) and field in self.options:
                raise UserError(
                    f"{name} is given twice: as {getattr(self, name)!r}, and among the other fields of the type as "
                    f"{self.options[field]!r}.",
                    "each value once",
                    "leave one of the two out.",
                )
        if unknown := [name for name in self.settings if name not in TrainConfig.model_fields or name in _CHOSEN]:
            raise UserError(
                f"settings has {', '.join(unknown)}.",
                "fields of TrainConfig that are no choices of their own",
                f"leave {', '.join(unknown)} out of settings.",
            )
        if self.skip and not has_target:
            raise UserError(
                "skip was given, and the run has no target: an autoencoder that may copy its input learns nothing.",
                "skip with a transcoder",
                "leave --skip out, or begin a run with --target.",
            )

    def as_used(self) -> "TrainingChoice":
        """The same without what has no meaning for the type. Versions that did not refuse it kept it in `run.json` and
        never used it."""
        unused = [name for name in ("k", "l1", "selection") if getattr(self, name) and not field_of(self.kind, name)]
        return self.model_copy(update=dict.fromkeys(unused)) if unused else self

    def fields(self, device: str) -> dict[str, Any]:
        """What of the choice goes into the configuration of its type, the number of latents left out."""
        found = {
            field: value
            for name in OF_SOME_TYPES
            if (value := getattr(self, name)) and (field := field_of(self.kind, name))
        }
        chooses = config_type(self.kind).model_fields.get("selection")
        if chooses is not None and chooses.annotation == SelectionDtype and self.selection is None:
            found["selection"] = fastest_selection(device)
        return found | self.options


class RunConfig(Config):
    """One run: one dictionary on one hook of one model, or as a crosscoder on several."""

    model: ModelConfig
    """The model read."""

    text: CorpusConfig
    """The token corpus of the workspace."""

    twin_of: str | None = None
    """The run that this one is a control of; None for a run that is no control."""

    hook: str | None = None
    """Where the model is read; None takes the default of the model. Several sites joined by `+` make a crosscoder."""

    target: str | None = None
    """What a transcoder reconstructs from what is read; None for a dictionary that reconstructs its input. As many
    sites joined by `+` as are read make a cross-layer transcoder."""

    second_model: ModelConfig | None = None
    """A second model with the same tokenizer, read at the same hook: a crosscoder between the two."""

    mask: Mask = Mask()
    """Tokens left out everywhere: in training, in the index, in every figure."""

    cached: bool = False
    """Whether activations are kept on disk as shards; otherwise they go straight from the model into training."""

    shard_dtype: Precision = "float32"
    """Precision of those shards: float32, bfloat16, or int8 with a scale for every token."""

    training: TrainingChoice = TrainingChoice()
    """The dictionary."""

    index: IndexConfig = IndexConfig(train_rows=8_000)
    """The feature index."""

    explain: ExplainConfig = ExplainConfig()
    """Explanations and their scores."""

    evaluate: EvaluateConfig = EvaluateConfig()
    """The evaluation."""

    diff: DiffConfig = DiffConfig()
    """The comparison of two models."""


def new_run(
    model: str,
    text: str,
    *,
    hook: str | None = None,
    target: str | None = None,
    second_model: str | None = None,
    n_tokens: int | None = None,
    n_ctx: int = 128,
    control: str = "none",
    expansion: float = 8,
    k: int | None = None,
    seed: int = 0,
    cached: bool = False,
    shard_dtype: str = "float32",
    trust_remote_code: bool = False,
    device: str = "cpu",
) -> RunConfig:
    """A run with our defaults. Raises `UserError` where a value is impossible."""
    return RunConfig.parse(
        {
            "model": {"name": model, "twin": control, "trust_remote_code": trust_remote_code, "device": device},
            "text": {"source": text, "n_ctx": n_ctx, "n_tokens": n_tokens},
            "hook": hook,
            "target": target,
            "second_model": {"name": second_model, "trust_remote_code": trust_remote_code, "device": device}
            if second_model
            else None,
            "cached": cached,
            "shard_dtype": shard_dtype,
            "training": {"expansion": expansion, "k": k, "seed": seed},
        },
        "the options of the run",
    )


def twin_of(config: RunConfig, run: str = MAIN) -> RunConfig:
    """The run `run` on the model with freshly drawn weights: what every figure is compared with.

    Its evaluation has no control dictionaries of its own: the report shows those of the model itself.
    """
    drawn = {"twin": "reinitialised"}
    second = config.second_model and config.second_model.model_copy(update=drawn | {"twin_seed": 1})
    evaluation = config.evaluate.model_copy(update={"controls": ()})
    model = config.model.model_copy(update=drawn)
    return config.model_copy(update={"model": model, "second_model": second, "evaluate": evaluation, "twin_of": run})
