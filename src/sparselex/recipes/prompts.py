"""A run's dictionary on text that a person types: which latents are active where, what the model does without one of
them, and what it writes when it is steered."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sparselex.base.bos import Bos, bos_of
from sparselex.base.errors import UserError
from sparselex.causal import edits
from sparselex.causal.edits import Edits
from sparselex.causal.effects import check_finite, effects
from sparselex.causal.generate import generate
from sparselex.causal.latents import Latents
from sparselex.causal.pinned import Pinning
from sparselex.causal.predictions import divergences, log_probabilities
from sparselex.causal.variants import variants
from sparselex.causal.where import Where, since
from sparselex.causal.written import judged, repeated
from sparselex.dictionaries.codes import Codes
from sparselex.lm.subject import SubjectModel
from sparselex.recipes.edits_of import EditsOf, Usual
from sparselex.recipes.prompt_records import (
    Ablated,
    AblatedToken,
    Active,
    Changed,
    Steered,
    TextLatents,
    TokenLatents,
    Written,
    WrittenToken,
)


class Prompts:
    """A model and a dictionary of it, for text that a person types.

    Tokens that a dictionary is never shown are left as they are, and none of their latents is told: BOS, and those
    whose norm at what is read is far from all others. Of such attention sinks codes are thousands of latents at
    hundreds of times their size.
    """

    def __init__(
        self,
        model: SubjectModel,
        latents: Latents,
        bos: Bos,
        within: Callable[[Float[Tensor, "n d_in"]], Bool[Tensor, " n"]],
        others: Callable[[int], Float[Tensor, " n"]],
    ):
        """`bos` is the rule by which a row begins with the BOS; `within` says of values whether they are of a size that
        the dictionary is shown, `others` gives a latent's activations at the counted tokens of the training split."""
        self.model, self.latents, self.bos, self._within = model, latents, bos, within
        self.where: Where = since(0 if bos_of(model.tokenizer, bos) is None else 1)
        self.edits = EditsOf(latents, self.where, model.n_ctx, lambda text: self._read(self.tokens(text)), others)

    @property
    def pinning(self) -> Pinning:
        """Latents that are held while the model writes. Raises like `Pinning`."""
        return Pinning(self.model, self.latents, self.tokens, self._read)

    def tokens(self, text: str) -> Int[Tensor, "1 ctx"]:
        """A text as a row of a corpus, BOS first where rows have one. Raises `UserError` for a text without tokens, and
        for one longer than the model reads."""
        return self.model.tokens(text, bos=self.bos)

    def top(self, text: str, n: int = 5) -> TextLatents:
        """The latents of a text, the `n` most active of each token. Raises `UserError` like `tokens`."""
        if n < 1:
            raise UserError(f"The {n} most active latents were asked for.", "a number from 1", "ask for 5, say.")
        row, codes, counted = self.codes(text)
        found = []
        for position, token in enumerate(row[0].tolist()):
            is_counted = bool(counted[position])
            entries = slice(int(codes.indptr[position]), int(codes.indptr[position + 1 if is_counted else position]))
            sizes, numbers = codes.values[entries], codes.indices[entries]
            best = sizes.abs().argsort(descending=True, stable=True)[:n].tolist()
            found.append(
                TokenLatents(
                    position=position,
                    token=token,
                    text=self._text(token),
                    latents=[Active(latent=int(numbers[one]), activation=float(sizes[one])) for one in best],
                    n_active=len(sizes),
                    counted=is_counted,
                )
            )
        return TextLatents(tokens=found)

    def codes(self, text: str) -> tuple[Int[Tensor, "1 ctx"], Codes, Bool[Tensor, " ctx"]]:
        """A text as tokens, all latents that are active at each of them, and which of them a dictionary is shown: those
        of others mean nothing. Raises `UserError` like `tokens`."""
        row = self.tokens(text)
        values, counted = self._read(row)
        with torch.no_grad():
            return row, self.latents.dictionary.encode_sparse(values), counted[0]

    def mean_norm(self, text: str) -> float:
        """Mean norm of what is at the place that the dictionary writes to, over the counted tokens of a text; over all
        of them where none is counted."""
        row = self.tokens(text)
        counted = self._read(row)[1][0]
        norms = self.model.read(row, [self.latents.hook])[self.latents.hook][0].float().norm(dim=-1)
        return float(norms[counted].mean() if bool(counted.any()) else norms.mean())

    def ablated(
        self,
        text: str | Int[Tensor, "1 ctx"],
        latent: int,
        *,
        to: float | Usual = 0.0,
        seed: int = 0,
        n_shown: int = 5,
    ) -> Ablated:
        """What the model predicts without a latent, whose activation is set to 0, or to something else as
        `EditsOf.ablate` says, at every token that is counted, of a text or of a row of tokens as a corpus has it.
        Raises `UserError` like `tokens` and `EditsOf.amount`, and for a latent that does not exist."""
        row = self.tokens(text) if isinstance(text, str) else text
        number = int(self.latents.checked(latent))
        values, counted = self._read(row)
        with torch.no_grad():
            acts = self.latents.activations(values, torch.full((len(values),), number))[None] * counted
        amount = torch.as_tensor(self.edits.amount(number, to, seed), dtype=torch.float32).reshape(1, -1)
        after = amount[:, : acts.shape[1]].to(acts) * counted
        kept = self.model.keep(row, self.latents.earliest)
        made = edits.ablate(self.latents, number, self.where.within(counted), to=after, known=acts)
        found = effects(self.model, kept, made, n_shown=n_shown)
        return Ablated(
            latent=number,
            tokens=[
                AblatedToken(
                    position=position,
                    text=self._text(token),
                    activation=float(acts[0, position]),
                    to=float(after[0, position]),
                    kl=float(found.divergence[position]),
                    loss=float(found.loss[position]) if position < len(found.loss) else None,
                    changed=[
                        Changed(token=int(one), text=self._text(int(one)), before=float(before), after=float(after))
                        for one, before, after in zip(
                            found.tokens[position], found.before[position], found.after[position], strict=True
                        )
                    ],
                )
                for position, token in enumerate(row[0].tolist())
            ],
        )

    def generate(
        self,
        text: str,
        n_new: int = 40,
        *,
        edits: Edits = (),
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> str:
        """What the model writes behind a text, under edits: those made by `Prompts.edits` without saying where at the
        tokens of the text that are counted and at all that are written. Raises like `tokens` and
        `causal.generate.generate`."""
        return self._decoded(self._written(self.tokens(text), n_new, edits, temperature, top_p, seed)[0])

    def steered(
        self,
        text: str,
        by: Mapping[int, float] | Tensor,
        *,
        kl: float | None = None,
        n_new: int = 40,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> Steered:
        """What the model writes behind a text, plain and steered, from the first token that is counted on.

        `by` says how much is added to the activation of each latent, in units of that activation, or is a direction
        `[d]` at the place that the dictionary writes to. With `kl` all of it is multiplied by a number at which the
        predictions at the prompt's counted tokens have this mean KL divergence, nats.

        Raises `UserError` like `tokens` and `causal.generate.generate`, where nothing is to be added, for a `kl` that
        no strength reaches, and for one of a text of which no token is counted.
        """
        if not (bool(by.any()) if isinstance(by, Tensor) else any(by.values())):
            raise UserError("Nothing was to be added.", "an amount that is not 0", "name a latent and how much.")
        row = self.tokens(text)
        factor = 1.0 if kl is None else self._factor(row, by, kl)
        made = self._steering(by, torch.tensor([0.0, factor]))
        before, after = self._written(row.expand(2, -1), n_new, made, temperature, top_p, seed)
        divergence = self._divergences(row, by, torch.tensor([factor]))[0]
        check_finite(divergence[None])
        own = [1.0] if isinstance(by, Tensor) else list(by.values())
        alone = self._steering(by, torch.tensor([factor]))
        return Steered(
            prompt=text,
            plain=self._decoded(before),
            steered=self._decoded(after),
            by=[factor * one for one in own],
            kl=max(0.0, float(divergence)),
            plain_written=self._judged(row, before, ()),
            steered_written=self._judged(row, after, alone),
        )

    def _read(self, row: Tensor) -> tuple[Tensor, Tensor]:
        """What the dictionary reads, `[ctx, d_in]`, and which tokens it is shown, `[1, ctx]`."""
        found = self.model.read(row, self.latents.read)
        values = torch.cat([found[hook] for hook in self.latents.read], dim=-1)[0].float()
        return values, self.where.tokens(1, 0, row.shape[1]) & self._within(values)[None]

    def _written(
        self, rows: Tensor, n_new: int, made: Edits, temperature: float, top_p: float, seed: int
    ) -> list[list[int]]:
        """The tokens that are written behind each row."""
        end = self.model.tokenizer.eos_id
        options: dict[str, Any] = {"temperature": temperature, "top_p": top_p, "seed": seed}
        here = self._behind(rows[:1], n_new, made)
        written = generate(self.model, rows, n_new, edits=here, stop=[] if end is None else [end], **options)
        found: list[list[int]] = written[:, rows.shape[1] :].tolist()
        return found

    def _behind(self, row: Tensor, n_new: int, made: Edits) -> Edits:
        """Edits at the counted tokens of a row and at all that are written behind it, where they do not say where."""
        counted = self._read(row)[1]
        every = torch.cat([counted, torch.ones(1, max(0, n_new), dtype=torch.bool)], dim=1)
        return tuple(replace(one, where=self.where.within(every)) if one.where is self.where else one for one in made)

    def _judged(self, row: Tensor, new: list[int], made: Edits) -> Written:
        """What was written behind a row, up to the first end of a text in it, under the model without edits."""
        end = self.model.tokenizer.eos_id
        new = new[: new.index(end) + 1] if end in new else new
        whole = torch.cat([row, torch.tensor([new], dtype=row.dtype)], dim=1)
        found = judged(self.model, whole, self.latents.earliest, self._behind(row, len(new), made))
        loss = [None, *found.loss.tolist()]
        return Written(
            tokens=[
                WrittenToken(token=token, text=self._text(token), new=n >= row.shape[1], loss=one, kl=kl)
                for n, (token, one, kl) in enumerate(
                    zip(whole[0].tolist(), loss, found.divergence.tolist(), strict=True)
                )
            ],
            loss=float(found.loss[row.shape[1] - 1 :].mean()),
            repeated=repeated(new),
        )

    def _decoded(self, tokens: list[int]) -> str:
        return self.model.tokenizer.vocabulary.decode(tokens)

    def _steering(self, by: Mapping[int, float] | Tensor, amounts: Tensor) -> Edits:
        if isinstance(by, Tensor):
            return edits.add(self.latents.hook, by, amounts, self.where)
        made = (edits.steer(self.latents, latent, amount * amounts, self.where) for latent, amount in by.items())
        return sum(made, start=())

    def _divergences(self, row: Tensor, by: Mapping[int, float] | Tensor, factors: Tensor) -> Tensor:
        """Mean KL over the prompt's counted tokens at each of these multiples; 0 of a prompt that has none."""
        counted = self._read(row)[1][0]
        found = torch.zeros(len(factors))
        if not bool(counted.any()):
            return found
        kept = self.model.keep(row, self.latents.earliest)
        p = log_probabilities(self.model.predict(kept.last[0]))
        every = torch.zeros(len(factors), dtype=torch.long)
        made = [replace(one, where=self.where.within(counted[None])) for one in self._steering(by, factors)]
        for some in variants(self.model, kept, every, made):
            for number, last in zip(some.numbers.tolist(), some.last, strict=True):
                q = log_probabilities(self.model.predict(last))
                found[number] = divergences(p[some.since :], q)[counted[some.since :]].mean()
        return found

    def _factor(self, row: Tensor, by: Mapping[int, float] | Tensor, kl: float) -> float:
        """The smallest multiple at which the divergence is `kl`: between the two of a grid that it lies between, halved
        until it is met within a hundredth."""
        if not 0 < kl < math.inf:
            raise UserError(f"A KL divergence of {kl} was asked for.", "a number above 0", "ask for 0.5, say.")
        if not bool(self._read(row)[1].any()):
            raise UserError(
                "The prompt has no token that a dictionary is shown: the first of a text is an attention sink here.",
                "a prompt of some words",
                "write more, or name a --strength.",
            )
        grid = torch.logspace(-3, 5, 33)
        found = self._divergences(row, by, grid)
        reached = (found >= kl).nonzero()
        if not len(reached):
            raise UserError(
                f"No strength reaches a KL divergence of {kl:g}: the largest that was found is "
                f"{max(0.0, float(found[torch.isfinite(found)].max())):.3g}.",
                "a divergence that the direction reaches",
                "ask for less, or choose another latent.",
            )
        high = int(reached[0])
        low_at, high_at = (float(grid[high - 1]) if high else 0.0), float(grid[high])
        for _ in range(12):
            middle = (low_at + high_at) / 2
            there = float(self._divergences(row, by, torch.tensor([middle]))[0])
            if abs(there - kl) <= 0.01 * kl:
                return middle
            low_at, high_at = (low_at, middle) if there > kl else (middle, high_at)
        return (low_at + high_at) / 2

    def _text(self, token: int) -> str:
        return self.model.tokenizer.vocabulary.text(token)
