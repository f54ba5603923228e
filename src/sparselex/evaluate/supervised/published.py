"""What is published of indirect object identification in GPT-2 Small: the heads that do it, the cross-sections at which
dictionaries were tested, and what edits of two latents came to (Wang et al. 2022, arXiv:2211.00593; Makelov, Lange and
Nanda 2024, arXiv:2405.08366, and its later notebooks, off whose plots the figures are read to within 0.02)."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sparselex.evaluate.supervised.records import GREEDY, LABELS, SUPERVISED, Edit, Place, Row, Tested
from sparselex.tasks.records import END

EVERY = "published"
"""All cross-sections, one after another, in the place of the name of one."""

SHAPE = (12, 12, 64)
"""Blocks, heads and dimensions of a head of GPT-2 Small."""

Heads = Sequence[tuple[int, int]]

_MOVERS: Heads = ((9, 9), (9, 6), (10, 0), (9, 0), (9, 7), (10, 1), (10, 2), (10, 10), (11, 2), (11, 9))
_S_INHIBITION: Heads = ((7, 3), (7, 9), (8, 6), (8, 10))
_INDUCTION: Heads = ((5, 5), (6, 9), (5, 8), (5, 9))
_DUPLICATE: Heads = ((0, 1), (3, 0), (0, 10))


def _nodes(site: str, heads: Heads, *roles: str) -> tuple[str, ...]:
    return tuple(f"blocks.{layer}.attn.hook_{site}:{head} @ {role}" for role in roles for layer, head in heads)


SECTIONS = {
    place.name: place
    for place in (
        Place(
            name="name-movers-out",
            words="what three name movers and seven backups write",
            nodes=_nodes("z", _MOVERS, END),
        ),
        Place(name="name-movers-q", words="their queries", nodes=_nodes("q", _MOVERS, END)),
        Place(
            name="name-movers-qk",
            words="their queries, and their keys at both names",
            nodes=_nodes("q", _MOVERS, END) + _nodes("k", _MOVERS, "IO", "S1"),
        ),
        Place(name="s-inhibition-out", words="what S-inhibition heads write", nodes=_nodes("z", _S_INHIBITION, END)),
        Place(
            name="s-inhibition-v",
            words="the values of these heads at the second mention",
            nodes=_nodes("v", _S_INHIBITION, "S2"),
        ),
        Place(
            name="induction-duplicate-out",
            words="what induction and duplicate-token heads write at the second mention",
            nodes=_nodes("z", (*_INDUCTION, *_DUPLICATE), "S2"),
        ),
    )
}
"""The cross-sections of GPT-2 Small by name."""


class Came(NamedTuple):
    """What an edit came to."""

    agreement: float
    """Share of the prompts on which the most likely token is that of the run with the true values."""

    removed: float
    """Share of the reconstruction that was taken out."""


EDITS: dict[tuple[str, str], dict[str, Came]] = {
    ("name-movers-out", "IO"): {
        SUPERVISED: Came(0.96, 0.64),
        "relu": Came(0.55, 0.56),
        "gated": Came(0.97, 0.70),
        "topk": Came(0.95, 0.68),
    },
    ("name-movers-qk", "Pos"): {
        SUPERVISED: Came(0.88, 0.39),
        "relu": Came(0.55, 0.66),
        "gated": Came(0.87, 0.74),
        "topk": Came(0.86, 0.50),
    },
    ("name-movers-q", "Pos"): {
        SUPERVISED: Came(0.85, 0.47),
        "relu": Came(0.24, 0.35),
        "gated": Came(0.90, 0.79),
        "topk": Came(0.89, 0.51),
    },
    ("s-inhibition-out", "Pos"): {
        SUPERVISED: Came(0.81, 0.37),
        "relu": Came(0.46, 0.41),
        "gated": Came(0.93, 0.71),
        "topk": Came(0.89, 0.47),
    },
    ("s-inhibition-v", "Pos"): {
        SUPERVISED: Came(0.90, 0.39),
        "relu": Came(0.61, 0.64),
        "gated": Came(0.94, 0.57),
        "topk": Came(0.87, 0.39),
    },
    ("induction-duplicate-out", "Pos"): {
        SUPERVISED: Came(0.90, 0.45),
        "relu": Came(0.44, 0.52),
        "gated": Came(0.90, 0.62),
        "topk": Came(0.94, 0.67),
    },
}
"""Published edits by cross-section and attribute: the labels' own, and two latents exchanged by greed,
of the dictionary of each type that does best (TopK with k = 3)."""


class Beside(NamedTuple):
    """One edit here and there."""

    attribute: str
    """The attribute that is changed."""

    row: Row
    """The dictionary."""

    edit: Edit
    """What came of it here."""

    there: Came
    """What is published."""


def beside_published(tested: Tested) -> Iterator[Beside]:
    """Of a published cross-section every edit of which there is a published one: of each type the dictionary here whose
    edits of two latents do best."""
    for (section, attribute), published in EDITS.items():
        for name, there in published.items() if section == tested.place.name else ():
            way = LABELS if name == SUPERVISED else GREEDY
            found = [
                (row, edit)
                for row in tested.rows
                for edit in row.edits
                if (row.name, edit.attribute, edit.way, edit.k) == (name, attribute, way, 2)
            ]
            if found:
                yield Beside(attribute, *max(found, key=lambda one: one[1].agreement.value or 0.0), there)
