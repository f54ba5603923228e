"""Many edited versions of some rows, each computed from where it differs: behind the site, and from its first edited
token on."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparselex.causal.edits import bound
from sparselex.causal.kinds import Edit
from sparselex.lm.kept import Kept
from sparselex.lm.subject import SubjectModel

_TOKENS = 4096
"""Tokens computed at a time: more are no faster."""

_BYTES = 2**28
"""Memory for the keys and values that variants look back at."""

_LOOSE = 8
"""Versions run together if their first edited tokens differ by at most this part of what is computed ..."""

_FEW = 8
"""... or where they would be fewer than this: a pass of a row or two costs what its weights cost to read."""


class Variants(NamedTuple):
    """Some of the edited versions."""

    numbers: Int[Tensor, " n"]
    """Which ones."""

    since: int
    """The first position that was computed; what lies before is as it was."""

    last: Float[Tensor, "n n_positions d_last"]
    """What the unembedding read of each from there on."""


def variants(
    model: SubjectModel, kept: Kept, rows: Int[Tensor, " n"], edits: Sequence[Edit], *, n_after: int | None = None
) -> Iterator[Variants]:
    """Edited versions, as many as `rows` says, each of a row of a pass that was kept: row `i` of every edit is made in
    version `i`, which is the kept row `rows[i]`. Versions in which nothing is edited are left out.

    They come as they are cheapest to compute: those whose first edited tokens are alike together. The pass is kept at
    the earliest hook that is edited. With `n_after` no more than so many tokens behind the first edited one are wanted
    of any version, and those further behind are mostly not computed. Raises `UserError` like `SubjectModel.run`.
    """
    n_ctx = kept.tokens.shape[1]
    first = torch.stack([edit.where.first(len(rows), n_ctx) for edit in edits]).amin(0)
    order = first.argsort(stable=True)
    order = order[: int((first < n_ctx).sum())]
    held = len(order) if kept.past is None else _BYTES // kept.past.bytes_per_token // n_ctx
    while len(order):
        since = int(first[order[0]])
        behind = n_ctx - since if n_after is None else min(n_ctx - since, n_after + 1)
        alike = int((first[order] <= since + behind // _LOOSE).sum())
        few = min(_FEW, int((first[order] < since + behind).sum()))
        numbers = order[: max(1, min(_TOKENS // behind, held, max(alike, few)))]
        made = bound([edit.of(numbers) for edit in edits], since)
        whole = kept if n_after is None else kept.until(min(n_ctx, int(first[numbers[-1]]) + n_after + 1))
        yield Variants(numbers, since, model.last(whole.of(rows[numbers], since), made))
        order = order[len(numbers) :]
