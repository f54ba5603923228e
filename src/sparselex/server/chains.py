"""A feature between what it is a part of and what is a part of it: latents in columns, the narrowest left."""

from collections.abc import Sequence
from typing import NamedTuple

from sparselex.atlas.relatives.records import Relatives

Of = tuple[int, int]
"""A latent: the number of its dictionary, and its own."""

MOST = 6
"""Latents in a column, those of the strongest links."""

_LOOKED_AT = 24
"""Relatives on a side among which the next are sought."""


class Chain(NamedTuple):
    """A latent with what is next to it on either side, and what is next to that."""

    columns: dict[int, list[Of]]
    """Latents by column: 0 for the latent, above it wider ones, below it narrower ones."""

    links: list[tuple[int, int, int, float]]
    """From a column to the next wider one: `(column, place of the narrower, place of the wider, how alike)`."""


def chain(found: Relatives, of: int, latent: int) -> Chain:
    """The chain of a latent. A wider relative that is wider than another one of the same latent stands a column further
    out, so that one goes from step to step."""
    columns, rows = {0: [(of, latent)]}, dict[tuple[Of, Of], float]()
    for sign in (1, -1):
        near: Sequence[Of] = columns[0]
        for step in (1, 2):
            reached = dict[Of, float]()
            for one in near:
                for other, link in _next(found, one, sign).items():
                    rows[(one, other) if sign > 0 else (other, one)] = link
                    reached[other] = max(link, reached.get(other, 0.0))
            there = {one for latents in columns.values() for one in latents}
            near = sorted((one for one in reached if one not in there), key=lambda one: -reached[one])[:MOST]
            if not near:
                break
            columns[sign * step] = list(near)
    columns = dict(sorted(columns.items()))
    links = [
        (column, narrow, wide, rows[one, other])
        for column, latents in columns.items()
        for narrow, one in enumerate(latents)
        for wide, other in enumerate(columns.get(column + 1, []))
        if (one, other) in rows
    ]
    return Chain(columns, links)


def _next(found: Relatives, one: Of, sign: int) -> dict[Of, float]:
    """Relatives of a latent on one side that no other relative stands between, and how alike they are."""
    every = _related(found, one, sign)
    beyond = {further for other in every for further in _related(found, other, sign)}
    return {other: link for other, link in every.items() if other not in beyond}


def _related(found: Relatives, one: Of, sign: int) -> dict[Of, float]:
    rows = (found.wider if sign > 0 else found.narrower)(*one)[:_LOOKED_AT].tolist()
    kin = [found.at(row) for row in rows]
    return {(each.wide_of, each.wide) if sign > 0 else (each.narrow_of, each.narrow): each.link for each in kin}
