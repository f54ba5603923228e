"""What pinned sampling gives in numbers, each beside plain texts and those under another latent."""

from collections.abc import Callable, Sequence

import numpy as np

from sparselex.base.estimates import mean_figure
from sparselex.base.figures import Figure
from sparselex.evaluate.pinned.records import Group, PinnedLatent, Texts

_TEXTS = "text that is written while a latent is held at its largest activation, or at the asked multiple of it"
_EMPTY = "no latent was measured"
CONTROL = "another latent, as strong"
"""Name of the control: a latent drawn at random, held at the value that changes predictions as much."""

_GROUPS: tuple[Group, ...] = ("best rules", "drawn at random")


def figures_of(found: Sequence[PinnedLatent]) -> list[Figure]:
    """All figures, over latents."""
    return [
        _mean(
            found,
            "active_share",
            lambda one: one.active_share,
            f"mean share of tokens of {_TEXTS} on which the latent is active when the plain model reads it",
        ),
        _share(
            found,
            "more_than_plain",
            lambda one: one.pinned.active_share > one.plain.active_share,
            lambda one: one.beside.active_share > one.plain.active_share,
            f"share of latents that are active on more tokens of {_TEXTS} than of text that is written by the same "
            "chance with nothing held; null: the same of text that is written while another latent is held",
        ),
        _more_than_other(found, "more_than_random", "latents"),
        *(
            _more_than_other(
                [one for one in found if one.group == group],
                f"more_than_random_{group.replace(' ', '_')}",
                f"latents ({group})",
            )
            for group in _GROUPS
        ),
        _mean(
            found,
            "raised_share",
            lambda one: one.raised_share,
            f"mean share of tokens of {_TEXTS} that are among those whose logits the latent raises most",
        ),
        _share(
            found,
            "raises_more_than_random",
            lambda one: one.pinned.raised_share > one.beside.raised_share,
            lambda one: one.beside.raised_share > one.pinned.raised_share,
            f"share of latents of whose raised tokens {_TEXTS} has more than text that is written by the same chance "
            "while another latent is held as strongly; null: the share of which it has fewer",
        ),
        _mean(
            found,
            "loss",
            lambda one: one.loss,
            f"mean cross-entropy of {_TEXTS} under the plain model: text that it would not write has a high one",
            unit="nats",
        ),
        _mean(
            found,
            "repeated",
            lambda one: one.repeated,
            f"mean share of pieces of four tokens of {_TEXTS} that stand in the same text before",
        ),
        mean_figure(
            "pinned/kl",
            np.array([one.kl for one in found]),
            "mean KL divergence of the predictions at the prompt's tokens while a latent is held from those without",
            over="latents",
            unit="nats",
            null=0.0,
            empty=_EMPTY,
        ),
    ]


def _mean(found: Sequence[PinnedLatent], name: str, of: Callable[[Texts], float], words: str, unit: str = "") -> Figure:
    figure = mean_figure(
        f"pinned/{name}",
        np.array([of(one.pinned) for one in found]),
        f"{words}; null: of text that is written by the same chance with nothing held",
        over="latents",
        share=not unit,
        unit=unit,
        null=float(np.mean([of(one.plain) for one in found])) if found else None,
        empty=_EMPTY,
    )
    return _beside(figure, found, lambda one: of(one.beside))


def _share(
    found: Sequence[PinnedLatent],
    name: str,
    of: Callable[[PinnedLatent], bool],
    by_chance: Callable[[PinnedLatent], bool],
    words: str,
) -> Figure:
    return mean_figure(
        f"pinned/{name}",
        np.array([of(one) for one in found], dtype=bool),
        words,
        over="latents",
        null=float(np.mean([by_chance(one) for one in found])) if found else None,
        better="higher",
        empty=_EMPTY,
    )


def _more_than_other(found: Sequence[PinnedLatent], name: str, which: str) -> Figure:
    return _share(
        found,
        name,
        lambda one: one.pinned.active_share > one.beside.active_share,
        lambda one: one.beside.active_share > one.pinned.active_share,
        f"share of {which} that are active on more tokens of {_TEXTS} than of text that is written by the same chance "
        "while another latent, drawn at random, is held so that it changes predictions at the prompt as much; null: "
        "the share that are active on fewer",
    )


def _beside(figure: Figure, found: Sequence[PinnedLatent], of: Callable[[PinnedLatent], float]) -> Figure:
    if figure.failure is not None:
        return figure
    return figure.model_copy(update={"controls": {CONTROL: float(np.mean([of(one) for one in found]))}})
