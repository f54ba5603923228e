"""Test 2, control: how few latents of a dictionary turn what is at a site into what it would be, had one attribute of
the prompt been another (Makelov, Lange and Nanda 2024, arXiv:2405.08366, section 4.2). Arrays in, arrays out.

Two codes are given for every prompt, of what is there and of what would be. Exchanging a latent means that its
activation becomes that of the other code: it may be taken out, put in, or both."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Edited(NamedTuple):
    """What is left of some exchanges."""

    change: Float[Tensor, "n d"]
    """What is added to what is there."""

    removed: Float[Tensor, " n"]
    """Share of the reconstruction that was taken out: 1 is all of it."""

    n_exchanged: Float[Tensor, " n"]
    """Latents that were exchanged."""


class Exchange(NamedTuple):
    """What a dictionary sees in a site's values, and in those that they are to become."""

    acts: Float[Tensor, "n d_sae"]
    """Codes of what is there."""

    wanted_acts: Float[Tensor, "n d_sae"]
    """Codes of what is wanted there."""

    W_dec: Float[Tensor, "d_sae d"]
    """Directions of the latents."""

    wanted: Float[Tensor, "n d"]
    """The change that is wanted: of the values themselves, not of their reconstructions."""

    @property
    def weights(self) -> Float[Tensor, "n d_sae"]:
        """Of each latent its share of the reconstruction of what is there: the part of what it contributes along all
        that the latents contribute. They sum to 1; a share below 0 works against the rest."""
        whole = self.acts @ self.W_dec
        return self.acts * (whole @ self.W_dec.T) / whole.square().sum(-1, keepdim=True).clamp_min(1e-30)


def greedy(exchange: Exchange, budgets: Sequence[int], *, stops: bool) -> Iterator[tuple[int, Edited]]:
    """By budget what is left when as many latents are exchanged, one after another: each time the one that brings the
    change nearest to what is wanted. With `stops` a prompt takes no further one where none brings it nearer, as in the
    paper's code, which may exchange a latent for itself; without, a late exchange may do harm.

    The best set of `k` is a problem that no fast method solves; at k = 1 this is the best there is.
    """
    acts, wanted_acts, W_dec, wanted = exchange
    moves, norms = wanted_acts - acts, W_dec.square().sum(-1)
    left, free, going = wanted.clone(), moves != 0, torch.ones(len(acts), dtype=torch.bool, device=acts.device)
    chosen = torch.zeros_like(free)
    for step in range(1, max(budgets) + 1):
        # |left - move|² less |left|²: below 0 where the move brings it nearer.
        gain = moves.square() * norms - 2 * moves * (left @ W_dec.T)
        gain = torch.where(free & ~chosen, gain, torch.inf)
        best = gain.argmin(-1)
        worth = gain.gather(-1, best[:, None])[:, 0]
        going = going & torch.isfinite(worth) & ((worth < 0) | (not stops))
        rows = going.nonzero()[:, 0]
        chosen[rows, best[rows]] = True
        left[rows] -= moves[rows, best[rows], None] * W_dec[best[rows]]
        if step in budgets:
            yield step, _edited(exchange, chosen, chosen)


def by_meaning(
    exchange: Exchange,
    f1: Float[Tensor, "d_sae n_values"],
    was: Int[Tensor, " n"],
    becomes: Int[Tensor, " n"],
    budgets: Sequence[int],
) -> Iterator[tuple[int, Edited]]:
    """By budget what is left when the latents are exchanged that are known for the values: of the active ones those `k`
    with the highest F1 for the value that is there are taken out, and those `k` that are active in what is wanted with
    the highest F1 for the value that is wanted put in. `f1` is of other prompts than these."""
    out, into = f1.T[was], f1.T[becomes]
    for k in budgets:
        taken, put = _highest(out, exchange.acts != 0, k), _highest(into, exchange.wanted_acts != 0, k)
        yield k, _edited(exchange, taken, put)


def _highest(scores: Tensor, among: Bool[Tensor, "n d_sae"], k: int) -> Bool[Tensor, "n d_sae"]:
    ranked = torch.where(among, scores, -torch.inf)
    best = ranked.topk(min(k, ranked.shape[1]), dim=-1).indices
    return torch.zeros_like(among).scatter(-1, best, True) & among


def _edited(exchange: Exchange, taken: Bool[Tensor, "n d_sae"], put: Bool[Tensor, "n d_sae"]) -> Edited:
    """What is left when the latents `taken` lose what they contribute and those `put` contribute what is wanted."""
    acts, wanted_acts, W_dec, _ = exchange
    change = (wanted_acts * put - acts * taken) @ W_dec
    return Edited(change, (exchange.weights * taken).sum(-1), (taken | put).sum(-1).float())
