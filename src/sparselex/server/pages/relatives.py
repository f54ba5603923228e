"""`/runs/<run>/relatives`: which features are parts of others, and texts that tell the two apart."""

import numpy as np
from numpy.typing import NDArray

from sparselex.atlas.relatives.records import Kinship, Relatives
from sparselex.base.bounds import SEEDS, Seed
from sparselex.base.config import Config
from sparselex.base.runs import RunCard
from sparselex.base.seeds import generator
from sparselex.server.chains import chain
from sparselex.server.family_picture import FamilyPicture, family_picture
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, NoSuchPage, NotMadeYet, Page, PageRecord
from sparselex.server.pages.feature import Latent, checked_latent
from sparselex.server.pages.kin import KinMember, KinView, TextsView, kin_views, relatives_of, texts_view
from sparselex.server.pages.widths import words_of

N_LISTED = 10
"""Pairs that are told apart best, and as many drawn at random beside them."""

N_TEXTS = 8
"""Pairs of a latent whose texts are shown."""


class ChainMember(KinMember):
    """A latent of a chain."""

    column: int
    """How many steps wider it is than the latent in the middle; below 0 narrower."""

    place: int
    """Its place in its column."""


class ChainLink(Config):
    """A link of a chain."""

    column: int
    """Of the narrower one."""

    narrow: int
    """Place of the narrower one."""

    wide: int
    """Place of the wider one, a column further."""

    link: float
    """How alike they are."""


class ChainView(Config):
    """A latent between what it is a part of and what is a part of it."""

    members: list[ChainMember]
    """By column, the narrowest first."""

    links: list[ChainLink]
    """All links from a column to the next."""

    def at(self, column: int, place: int) -> ChainMember:
        """One of them."""
        return next(one for one in self.members if (one.column, one.place) == (column, place))

    def picture(self) -> FamilyPicture:
        """Its boxes and lines."""
        columns = sorted({one.column for one in self.members})
        members = {column: [one.place for one in self.members if one.column == column] for column in columns}
        found = family_picture(members, [(one.column, one.narrow, one.wide, one.link) for one in self.links])
        lines = [
            line._replace(label=f"{self._name(one.column, one.narrow)} in {self._name(one.column + 1, one.wide)}")
            for line, one in zip(found.lines, self.links, strict=True)
        ]
        return found._replace(lines=lines)

    def _name(self, column: int, place: int) -> str:
        one = self.at(column, place)
        return f"{one.run} {one.latent}"


class PairView(Config):
    """A pair of relatives with its texts."""

    kin: KinView
    """The two."""

    texts: TextsView | None
    """Their texts; None where there are none."""


class RelativesPage(PageRecord):
    """`/runs/<run>/relatives`: which features are parts of others, and texts that tell the two apart."""

    typed: str
    """The whole path of the workspace, as it can be typed into a shell."""

    run: RunCard
    """What the run says of itself."""

    found: Kinship
    """The dictionaries, and the figures of each."""

    of: str
    """The run whose latent is looked at."""

    latent: int | None
    """The latent that is looked at."""

    chain: ChainView | None
    """What it is a part of and what is a part of it; None where no latent is looked at, or it has no relatives."""

    pairs: list[PairView]
    """Its relatives, with texts, the strongest link first, as many wider as narrower ones at most."""

    n_pairs: int
    """How many relatives it has."""

    best: list[KinView]
    """The pairs that their texts tell apart best at many places."""

    seed: int
    """By what the others were drawn."""

    next_seed: int
    """By what others again are drawn."""

    drawn: list[KinView]
    """As many pairs, drawn at random from all that have texts."""

    n_texts: int
    """How many have texts."""


def relatives_page(
    opened: OpenWorkspace, run: str, of: str = "", latent: Latent | None = None, seed: Seed = 0
) -> RelativesPage:
    """The relatives that lie in a run; `of` is the run of one of its dictionaries, `seed` draws the sample. Raises
    `NotMadeYet` where there are none of the indexes that are there now, `NoSuchPage` for a dictionary or a latent that
    there is not."""
    card, found = opened.card(run), relatives_of(opened, run)
    if found is None:
        raise NotMadeYet(
            f"Relatives of the latents of run {run!r} were not sought in the dictionaries as they are indexed now.",
            "a run of which they were",
            f"run `sparselex analyse relatives {opened.workspace.typed} --run {run}`.",
        )
    number = found.found.number_of(of or run)
    if number is None:
        names = ", ".join(one.run for one in found.found.dictionaries)
        raise NoSuchPage(f"{of!r} is none of the dictionaries.", f"one of {names}", "choose one of these.")
    rows, n_pairs = np.zeros(0, dtype=np.int64), 0
    if latent is not None:
        checked_latent(opened.index(of or run), of or run, latent)
        sides = found.wider(number, latent), found.narrower(number, latent)
        rows, n_pairs = np.concatenate([one[: N_TEXTS // 2] for one in sides]), sum(map(len, sides))
    have_texts = np.flatnonzero(found.columns["both"] >= 0)
    return RelativesPage(
        title=f"{run}: relatives",
        typed=opened.workspace.typed,
        run=card,
        found=found.found,
        of=of or run,
        latent=latent,
        chain=None if latent is None or not n_pairs else _chain_view(opened, found, number, latent),
        pairs=[
            PairView(kin=view, texts=texts_view(opened, found, found.at(row)))
            for view, row in zip(kin_views(opened, found, rows), rows.tolist(), strict=True)
        ],
        n_pairs=n_pairs,
        best=kin_views(opened, found, _best(found)),
        seed=seed,
        next_seed=(seed + 1) % SEEDS,
        drawn=kin_views(opened, found, generator(seed, "relatives").permutation(have_texts)[:N_LISTED]),
        n_texts=len(have_texts),
    )


PAGE = Page(path="/runs/{run}/relatives", build=relatives_page, template=TEMPLATES / "relatives.html")


def _best(found: Relatives) -> NDArray[np.int64]:
    """The pairs that their texts tell apart best, where it is said of many places; no latent twice."""
    told, n_told = found.columns["told"], found.columns["n_told"]
    rows = np.flatnonzero(np.isfinite(told))
    # A share of few places is high by luck: about two standard errors are taken off.
    worth = told[rows] - 1 / np.sqrt(n_told[rows])
    kept, seen = list[int](), set[tuple[int, int]]()
    for row in rows[np.argsort(-worth, kind="stable")].tolist():
        one = found.at(row)
        both = {(one.narrow_of, one.narrow), (one.wide_of, one.wide)}
        if not both & seen:
            seen |= both
            kept.append(row)
        if len(kept) == N_LISTED:
            break
    return np.array(kept, dtype=np.int64)


def _chain_view(opened: OpenWorkspace, found: Relatives, of: int, latent: int) -> ChainView:
    made, runs = chain(found, of, latent), [one.run for one in found.found.dictionaries]
    members = []
    for column, latents in made.columns.items():
        for place, (number, each) in enumerate(latents):
            words = words_of(opened, runs[number], [each])[each]
            members.append(ChainMember(run=runs[number], latent=each, words=words, column=column, place=place))
    links = [ChainLink(column=at, narrow=narrow, wide=wide, link=link) for at, narrow, wide, link in made.links]
    return ChainView(members=members, links=links)
