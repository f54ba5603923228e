"""What a model makes of something added at single tokens: thousands of such versions of a few rows, each followed for
some tokens."""

import logging
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparselex.base.sites import Hook
from sparselex.causal.edits import Edits, add, bound
from sparselex.causal.variants import variants
from sparselex.causal.where import at
from sparselex.lm.kept import Kept
from sparselex.lm.subject import SubjectModel

_log = logging.getLogger(__name__)

_APART = 4096
"""Tokens in a pass where each is a row of its own."""

_FAR = 4.0
"""What is added in the trial whether tokens may be taken apart, in units of what is there."""


class Additions(NamedTuple):
    """Versions of the rows of a pass that was kept, in each of which something is added at one token."""

    rows: Int[Tensor, " n"]
    """The kept row of each."""

    positions: Int[Tensor, " n"]
    """The token in it."""

    vectors: Mapping[Hook, Float[Tensor, "n d"]]
    """What is added at each hook."""

    def of(self, numbers: Int[Tensor, " m"]) -> "Additions":
        """These versions."""
        vectors = {hook: vector[numbers] for hook, vector in self.vectors.items()}
        return Additions(self.rows[numbers], self.positions[numbers], vectors)

    def edits(self, positions: Tensor) -> Edits:
        """As edits at these positions."""
        return sum((add(hook, vector, where=at(positions)) for hook, vector in self.vectors.items()), start=())


class Followed(NamedTuple):
    """Some of the versions."""

    numbers: Int[Tensor, " n"]
    """Which ones."""

    last: Float[Tensor, "n n_followed d_last"]
    """What the unembedding read of the token at which something was added, and of those behind it; zeros where a row
    has no such token."""


def followed(
    model: SubjectModel, kept: Kept, additions: Additions, n_after: int, *, apart: bool = False
) -> Iterator[Followed]:
    """What becomes of each version, at the token itself and at `n_after` more. The pass is kept at the earliest hook
    at which something is added. Tokens that may be taken `apart` (see `can_be_apart`) are each a row of its own, and
    nothing is followed further. Raises `UserError` like `SubjectModel.run`.
    """
    if apart:
        for numbers in torch.arange(len(additions.rows)).split(_APART):
            yield Followed(numbers, _apart(model, kept, additions.of(numbers)))
        return
    made = additions.edits(additions.positions)
    for some in variants(model, kept, additions.rows, made, n_after=n_after):
        first = additions.positions[some.numbers] - some.since
        places = first[:, None] + torch.arange(n_after + 1)
        inside = (places < some.last.shape[1]).to(some.last.device)
        places = places.clamp_max(some.last.shape[1] - 1).to(some.last.device)
        found = some.last.gather(1, places[:, :, None].expand(-1, -1, some.last.shape[2]))
        yield Followed(some.numbers, found * inside[:, :, None])


@torch.no_grad()
def can_be_apart(model: SubjectModel, kept: Kept, hooks: tuple[Hook, ...]) -> bool:
    """Whether nothing behind these hooks looks at other tokens or at where in its row a token stands, tried on the
    first row of a pass that was kept at the earliest of them: what is then added at a token is the same to it alone,
    and nothing to those behind it."""
    n_ctx = kept.tokens.shape[1]
    positions = torch.arange(n_ctx // 2, n_ctx)[:4]
    if len(positions) < 2:
        return False
    rows = torch.zeros(len(positions), dtype=torch.long)
    size = _FAR * float(kept.values[:1].float().norm(dim=-1).mean())
    widths = {hook: model.width(hook) for hook in hooks}
    vectors = {hook: torch.full((len(rows), width), size / width**0.5) for hook, width in widths.items()}
    additions = Additions(rows, positions, vectors)
    try:
        alone = _apart(model, kept, additions)[:, 0]
        whole = model.last(kept.of(rows), bound(additions.edits(positions)))
    except Exception as error:  # a door: a model that is not made for rows of one token may fail in any way
        _log.info("%s runs whole rows: %s: %s", model.name, type(error).__name__, error)
        return False
    there = whole[torch.arange(len(rows)), positions]
    behind = torch.arange(n_ctx) > positions[:, None]
    changed = (whole - kept.last[rows])[behind.to(whole.device)].norm()
    tolerance = 1e-3 * float((there - kept.last[0, positions]).norm())
    return bool((alone - there).norm() <= tolerance) and bool(changed <= tolerance)


def _apart(model: SubjectModel, kept: Kept, additions: Additions) -> Tensor:
    alone = kept.apart(additions.rows, additions.positions)
    return model.last(alone, bound(additions.edits(torch.zeros(1, dtype=torch.long))))
