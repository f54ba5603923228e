"""What a feature is a part of and what is a part of it, as its page and the page of relatives show it."""

from collections.abc import Iterable

import numpy as np

from sparselex.atlas.relatives.records import KIND, Kin, Relatives
from sparselex.base.config import Config
from sparselex.features.records import Example
from sparselex.features.windows import ExampleView, Windows
from sparselex.server.opened import OpenWorkspace
from sparselex.server.pages.widths import words_of

N_SHOWN = 6
"""Relatives on each side that a feature's page names."""


class KinMember(Config):
    """One of two relatives."""

    run: str
    """Its run."""

    latent: int
    """Its number."""

    words: str
    """What is said of it, or the token on which it is most active."""


class TextView(Config):
    """One of two texts, with the activations of both latents on every token of it."""

    wide: ExampleView
    """With those of the wider latent."""

    narrow: ExampleView
    """With those of the narrower one."""


class TokensView(Config):
    """Where two texts differ."""

    back: int
    """How many tokens before the active one; 0 for that itself."""

    both: str
    """The token of the text in which both latents are active."""

    only: str
    """That of the text in which only the wider one is."""

    tells: bool
    """Whether it is by this one that the two are told apart."""


class TextsView(Config):
    """Two texts that tell two relatives apart."""

    both: TextView
    """In which both are active."""

    only: TextView
    """In which only the wider one is."""

    differing: list[TokensView]
    """Where they differ, the active token first."""


class KinView(Config):
    """Two relatives."""

    narrow: KinMember
    """The narrower one."""

    wide: KinMember
    """The wider one."""

    contained: float
    """Share of the narrower one's tokens on which the wider one is active, in test documents."""

    chance: float
    """Share of all tokens on which the wider one is active."""

    ratio: float
    """On how many times as many tokens the wider one is active."""

    link: float
    """How alike they are where one of them is active."""

    differing: int | None
    """Tokens in which the two texts differ; None where no texts were found."""

    at_random: float | None
    """In how many two such places differ at random."""

    told: float | None
    """How often the difference tells the two apart at other places; None where there are too few."""

    told_null: float | None
    """The same of texts chosen at random activations."""

    n_told: int
    """Places of which it says anything."""

    covered: float | None
    """Of what share of the wider one's places."""


class KinOf(Config):
    """What a feature is a part of, and what is a part of it."""

    owner: str
    """The run in which the relatives lie."""

    wider: list[KinView]
    """Wider relatives, the strongest link first."""

    n_wider: int
    """How many there are."""

    narrower: list[KinView]
    """Narrower ones."""

    n_narrower: int
    """How many there are."""


def relatives_of(opened: OpenWorkspace, run: str) -> Relatives | None:
    """The relatives that lie in a run, of the indexes that all its dictionaries have now; None where there are none."""
    return opened.over_runs(run, KIND, Relatives, lambda one: one.found.dictionaries)


def relatives_with(opened: OpenWorkspace, run: str) -> tuple[str, Relatives] | None:
    """Relatives that say something of a run's latents, and the run in which they lie: its own where there are such."""

    def find(owner: str) -> Relatives | None:
        found = relatives_of(opened, owner)
        return found if found is not None and found.found.number_of(run) is not None else None

    return opened.holding(run, find)


def kin_views(opened: OpenWorkspace, found: Relatives, rows: Iterable[int]) -> list[KinView]:
    """Pairs of relatives, each latent in a few words."""
    kin = [found.at(int(row)) for row in rows]
    wanted = dict[int, set[int]]()
    for one in kin:
        wanted.setdefault(one.narrow_of, set()).add(one.narrow)
        wanted.setdefault(one.wide_of, set()).add(one.wide)
    runs = [one.run for one in found.found.dictionaries]
    words = {of: words_of(opened, runs[of], sorted(latents)) for of, latents in wanted.items()}

    def member(of: int, latent: int) -> KinMember:
        return KinMember(run=runs[of], latent=latent, words=words[of][latent])

    return [
        KinView(
            narrow=member(one.narrow_of, one.narrow),
            wide=member(one.wide_of, one.wide),
            contained=one.contained,
            chance=one.chance,
            ratio=one.ratio,
            link=one.link,
            differing=one.differing if one.has_texts else None,
            at_random=_known(one.at_random),
            told=_known(one.told),
            told_null=_known(one.told_null),
            n_told=one.n_told,
            covered=_known(one.covered),
        )
        for one in kin
    ]


def kin_of(opened: OpenWorkspace, run: str, latent: int) -> KinOf | None:
    """The relatives of a feature; None where none were sought in its run, and where it has none."""
    there = relatives_with(opened, run)
    if there is None:
        return None
    owner, found = there
    of = found.found.number_of(run) or 0
    wider, narrower = found.wider(of, latent), found.narrower(of, latent)
    if not len(wider) and not len(narrower):
        return None
    return KinOf(
        owner=owner,
        wider=kin_views(opened, found, wider[:N_SHOWN]),
        n_wider=len(wider),
        narrower=kin_views(opened, found, narrower[:N_SHOWN]),
        n_narrower=len(narrower),
    )


def texts_view(opened: OpenWorkspace, found: Relatives, kin: Kin) -> TextsView | None:
    """The two texts of a pair of relatives, with activations on test documents; None where there are none."""
    if not kin.has_texts:
        return None
    runs = [one.run for one in found.found.dictionaries]
    sides = [
        Windows(opened.index(runs[of]).index, latent, opened.index(runs[of]).texts, "test")
        for of, latent in ((kin.wide_of, kin.wide), (kin.narrow_of, kin.narrow))
    ]
    texts = [
        TextView(wide=wide, narrow=narrow)
        for wide, narrow in zip(*(_views(one, (kin.both, kin.only)) for one in sides), strict=True)
    ]
    label, tokens = sides[0].texts.label, np.asarray(sides[0].corpus.tokens).reshape(-1)
    at = lambda position, back: label(int(tokens[position - back]))
    differing = [
        TokensView(back=back, both=at(kin.both, back), only=at(kin.only, back), tells=back == kin.back)
        for back in range(found.found.n_before + 1)
        if tokens[kin.both - back] != tokens[kin.only - back]
    ]
    return TextsView(both=texts[0], only=texts[1], differing=differing)


def _views(windows: Windows, positions: tuple[int, int]) -> list[ExampleView]:
    return windows.views([Example(position=at, value=windows.at(at).value) for at in positions])


def _known(value: float) -> float | None:
    return value if value == value else None
