"""Text that a model writes while one latent is held at a value, beside what it writes by itself and while another is
held, by the same chance; and whether the latent is active on such a text by itself."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.causal.edits import Edits, clamp
from sparselex.causal.effects import check_finite
from sparselex.causal.generate import generate
from sparselex.causal.latents import Latents
from sparselex.causal.predictions import divergences, log_probabilities
from sparselex.causal.strength import Tuned, tuned
from sparselex.causal.variants import variants
from sparselex.causal.where import EVERYWHERE, since
from sparselex.causal.written import judged, repeated
from sparselex.lm.subject import SubjectModel

Read = Callable[[Int[Tensor, "1 ctx"]], tuple[Float[Tensor, "ctx d_in"], Bool[Tensor, "1 ctx"]]]
"""Gives of a row what the dictionary reads, and which tokens it is shown."""


class Pin(NamedTuple):
    """A latent that is held."""

    latent: int
    value: float
    """The activation that it has wherever it is held."""


class Sampling(NamedTuple):
    """How text is written."""

    n_new: int = 40
    """Tokens that are written at most."""

    temperature: float = 1.0
    top_p: float = 1.0
    at_last: bool = False
    """Whether a latent is held at the last token of the prompt and at those that are written alone, and not at every
    token."""


class Wrote(NamedTuple):
    """A text that was written."""

    tokens: list[int]
    """What was written, up to its end."""

    loss: list[float]
    """Cross-entropy of each of these tokens under the plain model, nats."""

    repeated: float | None
    """Share of its pieces of four tokens that stand in it before; None of fewer than four tokens."""

    activations: list[float]
    """Of the latent that is asked about at each of these tokens, in a pass in which nothing is held; 0 where a
    dictionary is not shown the token."""

    @property
    def active_share(self) -> float:
        """Share of the tokens on which it is active."""
        return sum(value > 0 for value in self.activations) / max(1, len(self.activations))

    @property
    def mean_loss(self) -> float:
        """Mean cross-entropy."""
        return sum(self.loss) / max(1, len(self.loss))

    def share_of(self, tokens: Collection[int]) -> float:
        """Share of what was written that is one of these tokens."""
        return sum(token in tokens for token in self.tokens) / max(1, len(self.tokens))


class Beside(NamedTuple):
    """What was written by one chance."""

    seed: int
    plain: Wrote
    pinned: Wrote
    other: Wrote
    """While the other latent was held."""


class Pinning:
    """A model and a dictionary of it, whose latents are held while the model writes.

    Raises `UserError` for a dictionary that does not read what it writes: what its latents are at a token that has not
    been written yet nobody knows.
    """

    def __init__(
        self, model: SubjectModel, latents: Latents, tokens: Callable[[str], Int[Tensor, "1 ctx"]], read: Read
    ):
        """`tokens` gives a text as a row, `read` says of a row what the dictionary reads."""
        latents.check_reads_what_it_writes("pinned")
        self.model, self.latents, self.row, self._read = model, latents, tokens, read
        end = model.tokenizer.eos_id
        self.ends: tuple[int, ...] = () if end is None else (end,)
        """Tokens that end a text."""

    def divergences(
        self, row: Int[Tensor, "1 ctx"], latent: int, values: Float[Tensor, " n"], *, at_last: bool = False
    ) -> Float[Tensor, " n"]:
        """Mean KL divergence of the predictions at the tokens where the latent is held from those of the plain model,
        nats, for each of these values. Raises `UserError` where there is no such token, and for a value that leaves no
        finite logits."""
        held = self._held(row, at_last)
        kept = self.model.keep(row, self.latents.earliest)
        p = log_probabilities(self.model.predict(kept.last[0]))
        found = torch.zeros(len(values))
        made = clamp(self.latents, latent, values, EVERYWHERE.within(held))
        for some in variants(self.model, kept, torch.zeros(len(values), dtype=torch.long), made):
            for number, last in zip(some.numbers.tolist(), some.last, strict=True):
                q = log_probabilities(self.model.predict(last))
                check_finite(q)
                found[number] = divergences(p[some.since :], q)[held[0, some.since :]].mean().clamp_min(0)
        return found

    def divergence(self, row: Int[Tensor, "1 ctx"], pin: Pin, *, at_last: bool = False) -> float:
        """That of one value."""
        return float(self.divergences(row, pin.latent, torch.tensor([pin.value]), at_last=at_last)[0])

    def as_strong(self, row: Int[Tensor, "1 ctx"], pin: Pin, other: Pin, *, at_last: bool = False) -> tuple[Pin, Tuned]:
        """The other latent at the value whose divergence is nearest to that of the first; and how near that is. What it
        is looked for from is the value of `other`."""
        target = self.divergence(row, pin, at_last=at_last)
        at = lambda value: self.divergence(row, Pin(other.latent, float(value)), at_last=at_last)
        found = tuned(at, max(target, 1e-6), start=other.value)
        return Pin(other.latent, found.strength), found

    def beside(
        self,
        row: Int[Tensor, "1 ctx"],
        pin: Pin,
        other: Pin,
        seeds: Sequence[int],
        how: Sampling,
    ) -> list[Beside]:
        """What the model writes behind a row: plain, while `pin` is held and while `other` is, by each of these seeds.
        Raises `UserError` like `causal.generate.generate`."""
        pins = (None, pin, other)
        written = self._written(row, [one for one in pins for _ in seeds], [*seeds] * len(pins), how)
        read = [self.read_back(row, new, pin.latent) for new in written]
        n = len(seeds)
        return [Beside(seed, *read[number::n]) for number, seed in enumerate(seeds)]

    def read_back(self, row: Int[Tensor, "1 ctx"], new: list[int], latent: int) -> Wrote:
        """A text that was written behind a row, read by the plain model."""
        whole = torch.cat([row, torch.tensor([new], dtype=row.dtype)], dim=1)
        loss = judged(self.model, whole, self.latents.earliest, ()).loss[row.shape[1] - 1 :]
        values, counted = self._read(whole)
        with torch.no_grad():
            acts = self.latents.activations(values, torch.full((len(values),), latent)) * counted[0].to(values.device)
        return Wrote(new, loss.tolist(), repeated(new), acts[row.shape[1] :].tolist())

    def _written(
        self,
        row: Int[Tensor, "1 ctx"],
        pins: Sequence[Pin | None],
        seeds: Sequence[int],
        how: Sampling,
    ) -> list[list[int]]:
        made = self._edits(row, pins, how)
        rows, chance = row.expand(len(pins), -1), (how.temperature, how.top_p)
        found = generate(
            self.model, rows, how.n_new, edits=made, temperature=chance[0], top_p=chance[1], seed=seeds, stop=self.ends
        )
        return [_until_end(new, self.ends) for new in found[:, row.shape[1] :].tolist()]

    def _edits(self, row: Tensor, pins: Sequence[Pin | None], how: Sampling) -> Edits:
        """Each row's own latent held; nothing at any token of rows without one."""
        held = self._held(row, how.at_last)
        n_read = row.shape[1] + how.n_new - 1  # the last token is written and not read
        every = torch.cat([held, torch.ones(1, how.n_new, dtype=torch.bool)], dim=1)
        where = since(torch.tensor([n_read if pin is None else 0 for pin in pins])).within(every)
        numbers = torch.tensor([0 if pin is None else pin.latent for pin in pins])
        values = torch.tensor([0.0 if pin is None else pin.value for pin in pins])
        return tuple(replace(one, where=where) for one in clamp(self.latents, numbers, values))

    def _held(self, row: Tensor, at_last: bool) -> Bool[Tensor, "1 ctx"]:
        """Tokens of the prompt at which a latent is held: those that a dictionary is shown."""
        held = self._read(row)[1].cpu().clone()
        if at_last:
            held[:, :-1] = False
        if not bool(held.any()):
            raise UserError(
                "The prompt has no token at which a latent can be held: a dictionary is shown none of them.",
                "a prompt of some words",
                "write more: the first token of a text is an attention sink here.",
            )
        return held


def _until_end(new: list[int], stop: Collection[int]) -> list[int]:
    ends = [place for place, token in enumerate(new) if token in stop]
    return new[: ends[0] + 1] if ends else new
