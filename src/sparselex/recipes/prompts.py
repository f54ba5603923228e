"""A run's dictionary on text that a person types: which latents are active where, what the model does without one of
them, and what it writes when it is steered."""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Int
from pydantic import Field
from torch import Tensor

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.formats import plain
from sparselex.causal import edits
from sparselex.causal.edits import Amount, Edits, Where, since
from sparselex.causal.effects import effects
from sparselex.causal.generate import generate
from sparselex.causal.latents import Latents
from sparselex.causal.predictions import divergences, log_probabilities
from sparselex.causal.variants import variants
from sparselex.lm.subject import SubjectModel


class EditsOf:
    """Edits of one dictionary's latents, at all tokens of a text but BOS unless it is said where."""

    def __init__(self, latents: Latents, where: Where):
        self.latents, self._where = latents, where

    def ablate(self, latent: int | Tensor, where: Where | None = None, *, to: Amount = 0.0) -> Edits:
        """Its activation set to zero or to `to`, as `causal.edits.ablate`."""
        return edits.ablate(self.latents, latent, where or self._where, to=to)

    def clamp(self, latent: int | Tensor, to: Amount, where: Where | None = None) -> Edits:
        """Its activation set to `to` whether it is active or not, as `causal.edits.clamp`."""
        return edits.clamp(self.latents, latent, to, where or self._where)

    def scale(self, latent: int | Tensor, by: Amount, where: Where | None = None) -> Edits:
        """Its activation multiplied by `by`, as `causal.edits.scale`."""
        return edits.scale(self.latents, latent, by, where or self._where)

    def steer(self, latent: int | Tensor, by: Amount, where: Where | None = None) -> Edits:
        """Its direction added, as by `by` more of its activation, as `causal.edits.steer`."""
        return edits.steer(self.latents, latent, by, where or self._where)

    def splice(self, where: Where | None = None, *, error: bool = False) -> Edits:
        """The dictionary's reconstruction, as `causal.edits.splice`."""
        return edits.splice(self.latents, where or self._where, error=error)


class Active(Config):
    """A latent at a token."""

    latent: int
    """Its number."""

    activation: float
    """How active it is there."""


class TokenLatents(Config):
    """One token of a text."""

    position: int
    """Counted from 0, the first token (BOS, where there is one)."""

    token: int
    """Its id."""

    text: str
    """What it stands for."""

    latents: list[Active]
    """The latents that are most active there, most active first."""

    n_active: int
    """How many are active in all."""


class TextLatents(Config):
    """The latents of a text; printed, a line for each token."""

    tokens: list[TokenLatents]
    """Token by token."""

    def __str__(self) -> str:
        width = max((len(repr(token.text)) for token in self.tokens), default=0)
        return "\n".join(
            f"{token.position:>4} {plain(repr(token.text)):<{width}}  {token.n_active:>4} active  "
            + "  ".join(f"{one.latent}: {one.activation:.3g}" for one in token.latents)
            for token in self.tokens
        )


class Changed(Config):
    """A token whose probability an edit changes."""

    token: int
    """Its id."""

    text: str
    """What it stands for."""

    before: float
    """Its probability without the edit."""

    after: float
    """And with it."""


class AblatedToken(Config):
    """What an ablation does at one token of a prompt."""

    position: int
    """Counted from 0, the first token (BOS, where there is one)."""

    text: str
    """What the token stands for."""

    activation: float
    """The latent's activation there, which is what the ablation takes away."""

    kl: float = Field(ge=0)
    """KL divergence of the model's next prediction without the latent from that with it, nats."""

    loss: float | None
    """How much the cross-entropy of the token that comes next rises, nats; None at the last token."""

    changed: list[Changed]
    """The next tokens whose probabilities change most."""


class Ablated(Config):
    """What a model does without a latent, on one prompt."""

    latent: int
    """Its number."""

    tokens: list[AblatedToken]
    """Token by token."""


class Steered(Config):
    """What a model writes plain and steered."""

    prompt: str
    """What it goes on from."""

    plain: str
    """What it writes by itself."""

    steered: str
    """What it writes when it is steered, by the same chance."""

    by: list[float]
    """What was added to each latent's activation, or how many times each direction was."""

    kl: float
    """Mean KL divergence of the predictions at the prompt's tokens under the steering from those without it, nats."""


class Prompts:
    """A model and a dictionary of it, for text that a person types."""

    def __init__(self, model: SubjectModel, latents: Latents, bos_id: int | None):
        """`bos_id` is what a row begins with, None for nothing."""
        self.model, self.latents, self.bos_id = model, latents, bos_id
        self.edits = EditsOf(latents, self.where)

    def tokens(self, text: str) -> Int[Tensor, "1 ctx"]:
        """A text as a corpus has it, BOS first where rows have one. Raises `UserError` for a text without
        tokens, and for one longer than the model reads."""
        ids = self.model.tokenizer.encode_batch([text])[0]
        if not ids:
            raise UserError("The prompt has no tokens.", "a text", "write something.")
        row = [*([] if self.bos_id is None else [self.bos_id]), *ids]
        if len(row) > self.model.n_ctx:
            raise UserError(
                f"The prompt has {len(row)} tokens.",
                f"at most {self.model.n_ctx}, which is what {self.model.name} reads",
                "shorten it.",
            )
        return torch.tensor([row])

    @property
    def where(self) -> Where:
        """All tokens but BOS, which a dictionary was never shown."""
        return since(0 if self.bos_id is None else 1)

    def top(self, text: str, n: int = 5) -> TextLatents:
        """The latents of a text, the `n` most active of each token. Raises `UserError` like `tokens`."""
        row = self.tokens(text)
        codes = self.latents.dictionary.encode_sparse(self._read(row))
        found = []
        for position, token in enumerate(row[0].tolist()):
            entries = slice(int(codes.indptr[position]), int(codes.indptr[position + 1]))
            values, numbers = codes.values[entries].detach(), codes.indices[entries]
            best = values.abs().argsort(descending=True, stable=True)[:n].tolist()
            shown = [] if token == self.bos_id else best
            active = [Active(latent=int(numbers[one]), activation=float(values[one])) for one in shown]
            n_active = 0 if token == self.bos_id else len(values)
            found.append(
                TokenLatents(position=position, token=token, text=self._text(token), latents=active, n_active=n_active)
            )
        return TextLatents(tokens=found)

    def ablated(self, text: str, latent: int, *, n_shown: int = 5) -> Ablated:
        """What the model predicts without a latent, whose activation is taken away at every token of a text. Raises
        `UserError` like `tokens`, and for a latent that does not exist."""
        row = self.tokens(text)
        acts = self._activations(row, int(self.latents.checked(latent)))
        kept = self.model.keep(row, self._earliest)
        found = effects(self.model, kept, edits.ablate(self.latents, latent, self.where, known=acts), n_shown=n_shown)
        return Ablated(
            latent=latent,
            tokens=[
                AblatedToken(
                    position=position,
                    text=self._text(token),
                    activation=float(acts[0, position]),
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
        """What the model writes behind a text, plain and steered from the first token on, BOS excepted.

        `by` says how much is added to the activation of each latent, or is a direction `[d]` at the place that the
        dictionary writes to. With `kl` all of it is multiplied by a number at which the predictions at the prompt's
        tokens have this mean KL divergence, nats.

        Raises `UserError` like `tokens` and `causal.generate.generate`, and for a `kl` that no strength reaches.
        """
        row = self.tokens(text)
        factor = 1.0 if kl is None else self._factor(row, by, kl)
        amounts = torch.tensor([0.0, factor])
        written = generate(
            self.model,
            row.expand(2, -1),
            n_new,
            edits=self._steering(by, amounts),
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            stop=[] if self.model.tokenizer.eos_id is None else [self.model.tokenizer.eos_id],
        )
        before, after = (self.model.tokenizer.vocabulary.decode(new.tolist()) for new in written[:, row.shape[1] :])
        own = [1.0] if isinstance(by, Tensor) else list(by.values())
        divergence = self._divergences(row, by, torch.tensor([factor]))[0]
        return Steered(
            prompt=text, plain=before, steered=after, by=[factor * one for one in own], kl=max(0.0, float(divergence))
        )

    @property
    def _earliest(self) -> str:
        return min(self.latents.written, key=lambda hook: hook.layer or 0)

    def _read(self, row: Tensor) -> Tensor:
        found = self.model.read(row, self.latents.read)
        return torch.cat([found[hook] for hook in self.latents.read], dim=-1)[0].float()

    def _activations(self, row: Tensor, latent: int) -> Tensor:
        values = self._read(row)
        with torch.no_grad():
            return self.latents.activations(values, torch.full((len(values),), latent))[None]

    def _steering(self, by: Mapping[int, float] | Tensor, amounts: Tensor) -> Edits:
        if isinstance(by, Tensor):
            return edits.add(self.latents.hook, by, amounts, self.where)
        made = (edits.steer(self.latents, latent, amount * amounts, self.where) for latent, amount in by.items())
        return sum(made, start=())

    def _divergences(self, row: Tensor, by: Mapping[int, float] | Tensor, factors: Tensor) -> Tensor:
        """Mean KL over the prompt's tokens at each of these multiples."""
        kept = self.model.keep(row, self._earliest)
        p = log_probabilities(self.model.predict(kept.last[0]))
        found = torch.zeros(len(factors))
        every = torch.zeros(len(factors), dtype=torch.long)
        for some in variants(self.model, kept, every, self._steering(by, factors)):
            for number, last in zip(some.numbers.tolist(), some.last, strict=True):
                q = log_probabilities(self.model.predict(last))
                found[number] = divergences(p[some.since :], q).mean()
        return found

    def _factor(self, row: Tensor, by: Mapping[int, float] | Tensor, kl: float) -> float:
        """The smallest multiple at which the divergence is `kl`: between the two of a grid that it lies between, halved
        until it is met within a hundredth."""
        if not kl > 0:
            raise UserError(f"A KL divergence of {kl} was asked for.", "a number above 0", "ask for 0.5, say.")
        grid = torch.logspace(-3, 2, 21)
        found = self._divergences(row, by, grid)
        reached = (found >= kl).nonzero()
        if not len(reached):
            finite = found[torch.isfinite(found)]
            raise UserError(
                f"No strength reaches a KL divergence of {kl:g}: a hundred times as much gives "
                f"{float(finite.max()) if len(finite) else math.nan:.3g}.",
                "a divergence that the direction reaches",
                "ask for less, or choose another latent: this one does little here.",
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
