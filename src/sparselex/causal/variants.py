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


def variants(model: SubjectModel, kept: Kept, rows: Int[Tensor, " n"], edits: Sequence[Edit]) -> Iterator[Variants]:
    """Edited versions, as many as `rows` says, each of a row of a pass that was kept: row `i` of every edit is made in
    version `i`, which is the kept row `rows[i]`. Versions in which nothing is edited are left out.

    They come as they are cheapest to compute: those whose first edited tokens are alike together. The pass is kept at
    the earliest hook that is edited. Raises `UserError` like `SubjectModel.run`.
    """
    n_ctx = kept.tokens.shape[1]
    first = torch.stack([edit.where.first(len(rows), n_ctx) for edit in edits]).amin(0)
    order = first.argsort(stable=True)
    order = order[: int((first < n_ctx).sum())]
    most = _TOKENS if kept.past is None else min(_TOKENS, _BYTES // kept.past.bytes_per_token)
    while len(order):
        since = int(first[order[0]])
        behind = n_ctx - since
        alike = int((first[order] <= since + behind // _LOOSE).sum())
        numbers = order[: max(1, min(most // (behind if kept.past is None else n_ctx), max(alike, _FEW)))]
        made = bound([edit.of(numbers) for edit in edits], since)
        yield Variants(numbers, since, model.last(kept.of(rows[numbers], since), made))
        order = order[len(numbers) :]
