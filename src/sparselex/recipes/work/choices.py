"""From what a person chose about training to a whole training configuration, and back."""

import difflib
from collections.abc import Sequence
from typing import Any

from sparselex.base.errors import UserError
from sparselex.base.sites import Hook, Sites
from sparselex.dictionaries.kinds import DICTIONARIES
from sparselex.dictionaries.sparse.precision import fastest_selection
from sparselex.dictionaries.table import config_type
from sparselex.lm.load import float64_device
from sparselex.lm.subject import Readable
from sparselex.recipes.choice import TrainingChoice
from sparselex.recipes.of_2023 import KIND as KIND_OF_2023
from sparselex.recipes.of_2023 import OPTIONS as OPTIONS_OF_2023
from sparselex.recipes.of_2023 import settings_of_2023
from sparselex.recipes.run import Run
from sparselex.training.config import TrainConfig

CHECKPOINT_TOKENS = 500_000
"""Training can be killed at any moment; this much of it is at most done again."""

OF_SOME_TYPES = ("k", "l1", "selection", "skip")
"""Choices that only some types of dictionary have."""

_CHOSEN = ("n_tokens", "seed", "finish", "finish_share", "frozen")
"""Fields of a training configuration that a choice has by itself, beside the dictionary."""


def train_config(run: Run, choice: TrainingChoice, hooks: Sequence[Hook] | None = None) -> TrainConfig:
    """The training configuration with everything filled in, at `hooks` or the run's own sites.

    Raises `UserError` for a choice that means nothing to its type, and for one that does not fit the sites.
    """
    check_choice(choice, has_target=run.config.target is not None)
    sites = run.sites if hooks is None else run.sites_at(hooks)
    dictionary = _dictionary(run, choice, sites)  # what does not fit is refused before text is read
    n_tokens = choice.tokens_of(run.n_training_tokens)
    values = {
        "dictionary": dictionary,
        "n_tokens": n_tokens,
        "seed": choice.seed,
        "device": float64_device(run.config.model.device),
        "finish": choice.finish,
        "finish_share": choice.finish_share,
        "frozen": choice.frozen,
        # Below some thousand steps more of them are worth more than larger ones (docs/lab-log.md).
        "batch_size": 2048 if n_tokens < 20_000_000 else 4096,
        "checkpoint_tokens": CHECKPOINT_TOKENS,
        # A tenth of the run, so that even a short one has time to revive what fell silent.
        "dead_after_tokens": min(10_000_000, max(50_000, n_tokens // 10)),
        **(settings_of_2023(n_tokens, dictionary["d_sae"], _shares(dictionary)) if choice.recipe == "2023" else {}),
        **choice.settings,
    }
    return TrainConfig.parse(values, "the training options")


def choice_of(config: TrainConfig) -> TrainingChoice:
    """The choice from which a run at the same sites takes exactly `config`, whatever the recipe would fill in by
    then."""
    settings = config.to_json()
    dictionary: dict[str, Any] = settings.pop("dictionary")
    own: dict[str, Any] = {name: settings.pop(name) for name in _CHOSEN}
    own |= {name: dictionary.pop(name) for name in ("kind", *OF_SOME_TYPES) if name in dictionary}
    own["expansion"] = dictionary.pop("d_sae") / dictionary["d_in"]
    from_sites = config_type(own["kind"]).from_sites
    options = {name: value for name, value in dictionary.items() if name not in from_sites}
    return TrainingChoice.parse(own | {"options": options, "settings": settings}, "the training configuration")


def check_choice(choice: TrainingChoice, *, has_target: bool) -> None:
    """Raise `UserError` for what was chosen and means nothing to the type, or was chosen twice; `has_target` is whether
    the run's dictionary is a transcoder."""
    if choice.recipe == "2023" and choice.kind != KIND_OF_2023:
        raise UserError(
            f"The recipe of 2023 was asked for, and a dictionary of type {choice.kind}.",
            f"the type that it is of, {KIND_OF_2023}",
            f"add --kind {KIND_OF_2023}, or leave --recipe out.",
        )
    given = {name: value for name in OF_SOME_TYPES if (value := getattr(choice, name))}
    check_fit([choice.kind], given, choice.options)
    for name, value in given.items():
        if (field := field_of(choice.kind, name)) in choice.options:
            raise UserError(
                f"{name} is given twice: as {value!r}, and among the other fields of the type as "
                f"{choice.options[field]!r}.",
                "each value once",
                "leave one of the two out.",
            )
    if "d_sae" in choice.options:
        raise UserError(
            f"d_sae is given as {choice.options['d_sae']!r}, and the width is said by expansion as well.",
            "the number of latents as a multiple of what is read",
            "give --expansion, which may be a fraction, and leave d_sae out.",
        )
    known = TrainConfig.model_fields.keys() - {"dictionary", *_CHOSEN}
    if unknown := ", ".join(name for name in choice.settings if name not in known):
        raise UserError(
            f"settings has {unknown}.",
            "fields of TrainConfig that are no choices of their own",
            f"leave {unknown} out of settings.",
        )
    if choice.skip and not has_target:
        raise UserError(
            "skip was given, and the run has no target: an autoencoder that may copy its input learns nothing.",
            "skip with a transcoder",
            "leave --skip out, or begin a run with --target.",
        )


def check_fit(kinds: Sequence[str], choices: dict[str, Any], options: dict[str, Any]) -> None:
    """Raise `UserError` if one of the `choices` given, or of the `options` (fields of configurations), means nothing to
    any of `kinds`."""
    unfit = [name for name in choices if not any(field_of(kind, name) for kind in kinds)]
    unfit += [name for name in options if not any(name in own_fields(kind) for kind in kinds)]
    if not unfit:
        return
    known = sorted({name for kind in kinds for name in own_fields(kind)})
    near = [near for name in unfit if name in options for near in difflib.get_close_matches(name, known, n=1)]
    given = " and ".join(f"{name}={(choices | options)[name]!r}" for name in unfit)
    were, settings = ("were", "settings") if len(unfit) > 1 else ("was", "setting")
    types, names = " and ".join(kinds), " and ".join(unfit)
    raise UserError(
        f"{given} {were} given, and dictionaries of type {types} have no such {settings}.",
        f"{'; '.join(_takers(name, name in choices) for name in unfit)} ({types}: {', '.join(known)})",
        f"did you mean {' and '.join(near)}?" if near else f"leave {names} out, or choose another --kind.",
    )


def field_of(kind: str, choice: str) -> str | None:
    """The field that a choice sets in the configuration of the type `kind`, or None where the type has no such
    thing."""
    return config_type(kind).field_of(choice)


def own_fields(kind: str) -> list[str]:
    """Fields of the configuration of the type `kind` that a person may choose."""
    config = config_type(kind)
    return [name for name in config.model_fields if name != "kind" and name not in config.from_sites]


def _takers(name: str, is_choice: bool) -> str:
    takes = [kind for kind in DICTIONARIES.names() if (field_of(kind, name) if is_choice else name in own_fields(kind))]
    return f"{name} with {', '.join(takes) or 'no type'}"


def _dictionary(run: Run, choice: TrainingChoice, sites: Sites) -> dict[str, Any]:
    """The configuration of the dictionary: sizes from the sites, the rest from the choice."""
    config = config_type(choice.kind)
    read, written = ([place.width for place in run.model.places(hooks)] for hooks in (sites.hooks, sites.target))
    fields: dict[str, Any] = {"kind": choice.kind} | config.fields_at(read, written, choice.expansion)
    if config.in_order:
        for hooks in (sites.hooks, sites.target):
            _check_order(run.model, hooks)
    fields |= OPTIONS_OF_2023 if choice.recipe == "2023" else {}
    chosen = {name: value for name in OF_SOME_TYPES if (value := getattr(choice, name))}
    fields |= {field: value for name, value in chosen.items() if (field := config.field_of(name))}
    if config.selects() and choice.selection is None:
        fields["selection"] = fastest_selection(float64_device(run.config.model.device))
    return fields | choice.options


def _shares(dictionary: dict[str, Any]) -> Sequence[float]:
    """When latents are resampled, where that was given as numbers; what is none is refused with the configuration."""
    shares = dictionary.get("resample_shares") or ()
    return [share for share in shares if isinstance(share, float)] if isinstance(shares, (list, tuple)) else ()


def _check_order(model: Readable, hooks: Sequence[Hook]) -> None:
    """Raise `UserError` for sites that are not in the order of the forward pass, each once."""
    order = {point.name: number for number, point in enumerate(model.hooks())}
    known = [order[hook] for hook in hooks if hook in order]
    if known != sorted(set(known)):
        raise UserError(
            f"{'+'.join(hooks)!r} is not in the order of the forward pass.",
            "the first layer first, each site once",
            "put the sites in order: a latent writes to its own layer and to those named after it.",
        )
