"""Edits of one run's latents, made from what is known of them: where they are shown tokens, what their activations are
on a text and at other tokens."""

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.causal import edits
from sparselex.causal.edits import Amount, Edits
from sparselex.causal.latents import Latents
from sparselex.causal.where import Where

Usual = Literal["zero", "mean", "resample"]
"""What a latent is ablated to: 0; its mean over the counted tokens of the training split; or at each token its
activation at another one of them, drawn anew."""

_DRAWN = 1 << 16
"""Tokens of a row for which activations are drawn at most."""


def usual(word: str) -> Usual:
    """The word as one of those. Raises `UserError` for any other."""
    for one in get_args(Usual):
        if one == word:
            return one
    raise UserError(f"A latent was to be ablated to {word!r}.", "zero, mean or resample", "choose one of these.")


class EditsOf:
    """Edits of one dictionary's latents, at all tokens of a text but BOS unless it is said where.

    With a `text` the activations are those of the undisturbed model on it, and its counted tokens alone are edited, on
    a pass over this text or in what is written behind it. So a dictionary of several sites can be edited, which is not
    possible on the way: its first site is written before its last has been read.
    """

    def __init__(
        self,
        latents: Latents,
        where: Where,
        n_ctx: int,
        read: Callable[[str], tuple[Float[Tensor, "ctx d_in"], Bool[Tensor, "1 ctx"]]],
        others: Callable[[int], Float[Tensor, " n"]],
    ):
        """`n_ctx` is how long a row can be. `read` gives of a text what the dictionary reads, and which tokens it is
        shown; `others` the activations of a latent at the counted tokens of the training split."""
        self.latents, self._where, self._n_ctx = latents, where, n_ctx
        self._read, self._others = read, others

    def ablate(
        self,
        latent: int | Tensor,
        where: Where | None = None,
        *,
        to: Amount | Usual = 0.0,
        seed: int | Sequence[int] = 0,
        text: str | None = None,
    ) -> Edits:
        """Its activation set to zero, to a number, to its `"mean"`, or at each token to what it is at another one
        (`"resample"`), drawn by `seed`, one for all rows or one of each; as `causal.edits.ablate`."""
        where, known = self._known(latent, where, text)
        return edits.ablate(self.latents, latent, where, to=self.amount(latent, to, seed), known=known)

    def clamp(self, latent: int | Tensor, to: Amount, where: Where | None = None, *, text: str | None = None) -> Edits:
        """Its activation set to `to` whether it is active or not, as `causal.edits.clamp`."""
        where, known = self._known(latent, where, text)
        return edits.clamp(self.latents, latent, to, where, known=known)

    def scale(self, latent: int | Tensor, by: Amount, where: Where | None = None, *, text: str | None = None) -> Edits:
        """Its activation multiplied by `by`, as `causal.edits.scale`."""
        where, known = self._known(latent, where, text)
        return edits.scale(self.latents, latent, by, where, known=known)

    def steer(self, latent: int | Tensor, by: Amount, where: Where | None = None) -> Edits:
        """Its direction added, as by `by` more of its activation, as `causal.edits.steer`."""
        return edits.steer(self.latents, latent, by, where or self._where)

    def splice(self, where: Where | None = None, *, error: bool = False) -> Edits:
        """The dictionary's reconstruction, as `causal.edits.splice`."""
        return edits.splice(self.latents, where or self._where, error=error)

    def amount(self, latent: int | Tensor, to: Amount | Usual, seed: int | Sequence[int] = 0) -> Amount:
        """What `ablate` sets an activation to, as a number or as `[batch]` or `[batch, ctx]` of them. Raises
        `UserError` for a word that means none, and where activations are asked for of which there is no index."""
        if not isinstance(to, str):
            return to
        if usual(to) == "zero":
            return 0.0
        every = [self._others(int(one)) for one in self.latents.checked(latent)]
        if to == "mean":
            return torch.stack([one.double().mean().float() for one in every])
        n_tokens = min(self._n_ctx, _DRAWN)
        return torch.cat([edits.resampled(one, n_tokens, seed) for one in every])

    def _known(self, latent: int | Tensor, where: Where | None, text: str | None) -> tuple[Where, Tensor | None]:
        """Where is edited, and the activations there, `[batch, ctx]`, of the undisturbed model on a text."""
        if text is None:
            return where or self._where, None
        values, counted = self._read(text)
        with torch.no_grad():
            codes = self.latents.dictionary.encode_sparse(values)
        numbers = self.latents.checked(latent)
        known = torch.stack([self.latents.of_codes(codes, one.expand(len(values))) for one in numbers])
        here = counted if where is None else counted & where.tokens(where.n_rows, 0, len(values))
        return Where.of_mask(here), known
