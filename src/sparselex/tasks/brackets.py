"""Closing the bracket that is open, in Python source: round or square, behind a pair that is closed already.

A model of one layer does this, and no more than this. With two brackets open at once the embedded model gives the kind
of the inner one a larger logit than the other kind on most prompts, but what it finds likeliest is a comma, or a token
that closes both in one, so that no single token is its answer; such prompts are left out on purpose.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from sparselex.tasks.brackets_words import INSIDE, OUTSIDE
from sparselex.tasks.records import END, Filling, Part, Prompt
from sparselex.tasks.words import another, filled, one_of, one_token_words
from sparselex.text.tokenizer import Tokenizer

TEMPLATES = {
    "difference": "    {inside} = {word}{earlier}0{closing} - {word}{open}{inside}",
    "sum": "    return {word}{earlier}0{closing} + {word}{open}{inside}",
    "lines": "    {inside} = {word}{earlier}i{closing}\n    {inside} = {word}{open}{inside}",
    "attributes": "        {inside} = self.{word}{earlier}i{closing}\n        {inside} = self.{word}{open}{inside}",
    "condition": "    x = {word}{earlier}i{closing} and {word}{open}{inside}",
    "loop": "    for i in x{earlier}{inside}{closing}:\n        {inside} = {word}{open}{inside}",
}
"""Source with one pair of brackets that is closed, and one that is not."""

KINDS = {"round": ("(", ")"), "square": ("[", "]")}
"""Brackets by name."""

_LEAST, _MOST = 8, 32


class Brackets:
    """A pair of brackets that is closed, and one that is to be.

    Names inside are in two halves, as those of `ioi` are; words before the bracket are others in prompts that are
    tested than in those that dictionaries are made of.

    Args:
        inside: names that are one token right behind a bracket, and behind a space.
        outside: the same of words that stand before a bracket.
        left_out: how many words were left out, by kind.
    """

    name = id = "brackets"
    words = "One bracket is open: that of its kind closes it, whatever kind was closed before."
    attributes = ("open", "earlier", "inside")
    roles = ("earlier", "closing", "word", "open", END)
    parametrisations: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    corruptions: Mapping[str, str] = MappingProxyType(
        {"anew": "other brackets and another name", "open": "the other kind of bracket"}
    )

    def __init__(self, inside: Sequence[str], outside: Sequence[str], left_out: Mapping[str, int] | None = None):
        self.inside, self.outside = tuple(inside), tuple(outside)
        self.pool, self.reserve = self.inside[::2], self.inside[1::2]
        self.left_out = dict(left_out or {})

    def fillings(self, n: int, part: Part, chance: np.random.Generator) -> list[Filling]:
        """`n` prompts; brackets, names and templates are independent of each other."""
        names = self.inside if part == "fit" else self.pool
        words = self.outside[::2] if part == "fit" else self.outside[1::2]
        return [
            {
                "template": one_of(tuple(TEMPLATES), chance),
                "open": one_of(tuple(KINDS), chance),
                "earlier": one_of(tuple(KINDS), chance),
                "inside": one_of(names, chance),
                "word": one_of(words, chance),
            }
            for _ in range(n)
        ]

    def prompt(self, filling: Filling) -> Prompt:
        """The source, up to where the bracket is to be closed."""
        opens, closes = KINDS[filling["open"]]
        earlier, closing = KINDS[filling["earlier"]]
        words = {
            "open": opens,
            "earlier": earlier,
            "closing": closing,
            "inside": filling["inside"],
            "word": filling["word"],
        }
        text, spans = filled(TEMPLATES[filling["template"]], words)
        roles = {name: spans["inside" if name == END else name] for name in self.roles}
        other = next(last for kind, (_, last) in KINDS.items() if kind != filling["open"])
        return Prompt(text, {name: filling[name] for name in self.attributes}, roles, closes, other)

    def changed(self, filling: Filling, attribute: str, chance: np.random.Generator) -> Filling:
        """Another kind of one pair of brackets, or a name of the reserve inside, wherever it stands."""
        choices = self.reserve if attribute == "inside" else tuple(KINDS)
        return {**filling, attribute: another(choices, filling[attribute], chance)}

    def corrupted(self, filling: Filling, way: str, chance: np.random.Generator) -> Filling:
        """`anew`: brackets of kinds of their own, and another name. `open`: the other kind of the one that is open."""
        if way == "open":
            return self.changed(filling, way, chance)
        drawn = {"open": tuple(KINDS), "earlier": tuple(KINDS), "inside": self.reserve}
        return {**filling, **{name: one_of(choices, chance) for name, choices in drawn.items()}}

    def held_against(self, filling: Filling) -> str:
        """The template: all else is one token each."""
        return filling["template"]


def make_brackets(tokenizer: Tokenizer) -> Brackets:
    """The task in names that this tokenizer has as one token. Raises `UserError` where it has too few."""
    forms = ("{}", " {}")
    inside = one_token_words(INSIDE, tokenizer, kind="names", least=_LEAST, forms=forms)
    outside = one_token_words(OUTSIDE, tokenizer, kind="words before a bracket", least=4, forms=forms)
    left_out = {"names of several tokens": len(inside.split), "words of several tokens": len(outside.split)}
    return Brackets(inside.kept[:_MOST], outside.kept, {what: n for what, n in left_out.items() if n})
