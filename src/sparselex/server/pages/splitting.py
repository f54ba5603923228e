"""`/runs/<run>/splitting`: what features become in wider dictionaries, and of what they came."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sparselex.atlas.splitting.records import Graph, Level, SplitGraph
from sparselex.base.config import Config
from sparselex.base.runs import RunCard
from sparselex.server.family_picture import FamilyPicture, family_picture
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, NoSuchPage, NotMadeYet, Page, PageRecord
from sparselex.server.pages.feature import Latent, checked_latent
from sparselex.server.pages.widths import graph_of, words_of

N_LISTED = 25
"""Latents in a list."""

MOST = 14
"""Relatives of a latent in the picture, the strongest first, and twice as many in each column."""


class MemberView(Config):
    """A latent of a family."""

    level: int
    """Which dictionary it is of."""

    latent: int
    """Its number."""

    words: str
    """What is said of it, or the token on which it is most active."""

    n_parents: int
    """Narrower latents that it is linked to; -1 where that was not looked at."""

    n_children: int
    """Wider ones; -1 where that was not looked at."""

    n_led: int
    """Those of them to which it is the strongest link."""


class LinkView(Config):
    """A link of a family."""

    level: int
    """Of the narrow one."""

    narrow: int
    """The narrow latent."""

    wide: int
    """The wide one."""

    link: float
    """How alike they are on test documents."""


class FamilyView(Config):
    """A latent with what it came of and what it becomes."""

    members: list[MemberView]
    """It and its relatives, by level."""

    links: list[LinkView]
    """All links between these."""

    n_more: dict[int, int]
    """By level, how many more relatives there are than are shown."""

    def words(self, level: int, latent: int) -> str:
        """What is said of a member."""
        return next(one.words for one in self.members if (one.level, one.latent) == (level, latent))

    def picture(self) -> FamilyPicture:
        """Its boxes and lines."""
        levels = sorted({one.level for one in self.members})
        members = {level: [one.latent for one in self.members if one.level == level] for level in levels}
        return family_picture(members, [(one.level, one.narrow, one.wide, one.link) for one in self.links])


class ParentView(Config):
    """A latent and some of what it becomes."""

    member: MemberView
    """The latent."""

    children: list[MemberView]
    """Those to which it is linked most strongly."""


class SplittingPage(PageRecord):
    """`/runs/<run>/splitting`: what features become in wider dictionaries, and of what they came."""

    typed: str
    """The whole path of the workspace, as it can be typed into a shell."""

    run: RunCard
    """What the run says of itself."""

    found: SplitGraph
    """The dictionaries, and the figures from each to the next."""

    level: int
    """The dictionary that is looked at."""

    latent: int | None
    """The latent whose family is shown."""

    family: FamilyView | None
    """Its family; None where none was asked for, or it is too rare to have one."""

    find: str
    """What was searched for."""

    listed: list[ParentView]
    """What was found, or else the latents of the level that are linked to most wider ones."""

    n_found: int
    """How many were found."""

    def at(self, level: int) -> Level:
        """One of the dictionaries."""
        return self.found.levels[level]


def splitting_page(
    opened: OpenWorkspace, run: str, level: str = "", latent: Latent | None = None, find: str = ""
) -> SplittingPage:
    """The graph that lies in a run; `level` is the run of one of its dictionaries, `find` a number, a word of what is
    said of a latent, or of the token on which it is most active. Raises `NotMadeYet` where there is no graph of the
    indexes that are there now, `NoSuchPage` for a level or a latent that there is not."""
    card, graph = opened.card(run), graph_of(opened, run)
    if graph is None:
        raise NotMadeYet(
            f"Latents of run {run!r} were not followed through dictionaries of other widths as these are indexed now.",
            "a run of which they were",
            f"run `sparselex analyse splitting {opened.workspace.typed} --run {run}`.",
        )
    levels = [one.run for one in graph.found.levels]
    if level and level not in levels:
        raise NoSuchPage(
            f"{level!r} is none of the dictionaries.", f"one of {', '.join(levels)}", "choose one of these."
        )
    at = levels.index(level) if level else (0 if latent is None else levels.index(run))
    if latent is not None:
        checked_latent(opened.index(levels[at]), levels[at], latent)
    rows = _searched(opened, levels[at], find) if find else _most(graph, at)
    return SplittingPage(
        title=f"{run}: splitting",
        typed=opened.workspace.typed,
        run=card,
        found=graph.found,
        level=at,
        latent=latent,
        family=None if latent is None else family(opened, graph, at, latent),
        find=find,
        listed=_listed(opened, graph, at, rows[:N_LISTED].tolist()),
        n_found=len(rows),
    )


PAGE = Page(path="/runs/{run}/splitting", build=splitting_page, template=TEMPLATES / "splitting.html")


def family(opened: OpenWorkspace, graph: Graph, level: int, latent: int) -> FamilyView | None:
    """A latent with its relatives on all levels; None where it has none that were looked at."""
    table = graph.latents(level)
    if all(table[name][latent] < 0 for name in ("children", "parents")):
        return None
    members, n_more = {level: [latent]}, dict[int, int]()
    for step, reach in ((1, graph.children), (-1, graph.parents)):
        near, there = [latent], level
        while near and 0 <= there + step < len(graph.found.levels):
            relatives = [reach(there, one) for one in near]
            shown, n_all = _strongest([(one.latent, one.link) for one in relatives])
            there, near = there + step, shown
            if shown:
                members[there] = shown
            if n_all > len(shown):
                n_more[there] = n_all - len(shown)
    members = dict(sorted(members.items()))
    links = []
    for at in members:
        if at + 1 in members:
            for narrow in members[at]:
                found = graph.children(at, narrow)
                inside = np.isin(found.latent, members[at + 1])
                links += [
                    LinkView(level=at, narrow=narrow, wide=int(wide), link=float(link))
                    for wide, link in zip(found.latent[inside], found.link[inside], strict=True)
                ]
    shown_members = [one for at, latents in members.items() for one in _members(opened, graph, at, latents)]
    return FamilyView(members=shown_members, links=links, n_more=n_more)


def _strongest(found: Sequence[tuple[NDArray, NDArray]]) -> tuple[list[int], int]:
    """The relatives of several latents that are shown, and how many there are of them."""
    best = dict[int, float]()
    for latents, links in found:
        for latent, link in zip(latents[:MOST].tolist(), links[:MOST].tolist(), strict=True):
            best[latent] = max(link, best.get(latent, 0.0))
    every = np.unique(np.concatenate([latents for latents, _ in found])) if found else np.zeros(0)
    shown = sorted(best, key=lambda latent: -best[latent])[: 2 * MOST]
    return shown, len(every)


def _members(opened: OpenWorkspace, graph: Graph, level: int, latents: list[int]) -> list[MemberView]:
    table, words = graph.latents(level), words_of(opened, graph.found.levels[level].run, latents)
    return [
        MemberView(
            level=level,
            latent=latent,
            words=words[latent],
            n_parents=int(table["parents"][latent]),
            n_children=int(table["children"][latent]),
            n_led=int(table["led"][latent]),
        )
        for latent in latents
    ]


def _most(graph: Graph, level: int) -> NDArray[np.int64]:
    """Latents that are the strongest link of several wide ones, of most first: a latent that is active often is linked
    to many, and is the strongest of few. Of the widest dictionary those that came of several."""
    table = graph.latents(level)
    last = level == len(graph.found.levels) - 1
    counts, then = (table["parents"], table["latent"]) if last else (table["led"], -table["children"])
    rows = np.flatnonzero(counts > 1)
    return rows[np.lexsort((rows, then[rows], -counts[rows]))]


def _searched(opened: OpenWorkspace, run: str, find: str) -> NDArray[np.int64]:
    """Latents of that number, of which these words are said, or that are most active on a token with them."""
    found = opened.index(run)
    if find.isascii() and find.isdecimal():
        number = int(find[:9])
        return np.arange(number, number + 1) if number < found.index.d_sae else np.zeros(0, dtype=np.int64)
    said = opened.explained.texts(found.index).with_words(find)[0]
    top = np.flatnonzero(np.isin(found.top_tokens, found.tokens_with(find)))
    return np.unique(np.concatenate([said, top])).astype(np.int64)


def _listed(opened: OpenWorkspace, graph: Graph, level: int, latents: list[int]) -> list[ParentView]:
    """Latents, each with the first of what it becomes; of the widest dictionary with what they came of."""
    last = level == len(graph.found.levels) - 1
    other, reach = (level - 1, graph.parents) if last else (level + 1, graph.children)
    found = []
    for member in _members(opened, graph, level, latents):
        near = reach(level, member.latent).latent[:5].tolist()
        found.append(ParentView(member=member, children=_members(opened, graph, other, near) if near else []))
    return found
