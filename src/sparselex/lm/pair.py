"""Two models read side by side on the same tokens: what a crosscoder between models is trained on."""

from collections.abc import Sequence
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparselex.base.bos import Bos
from sparselex.base.errors import UserError
from sparselex.lm.rows import row_of
from sparselex.lm.subject import HookPoint, Place, SubjectModel, side_by_side


class ModelPair:
    """Two models with one vocabulary, as one that can be read (`Readable`): the values of a hook are those of the first
    model, then those of the second."""

    def __init__(self, first: SubjectModel, second: SubjectModel):
        """Raises `UserError` if the two split text into different tokens."""
        if first.tokenizer.id != second.tokenizer.id:
            raise UserError(
                f"{first.name} and {second.name} split text into different tokens.",
                "two models with one tokenizer, such as a base model and its fine-tuned version",
                "choose another second model.",
            )
        self.first, self.second = first, second
        self.name = f"{first.name} and {second.name}"
        self.tokenizer, self.device = first.tokenizer, first.device
        self.d_model = first.d_model
        self.n_layers = min(first.n_layers, second.n_layers)
        self.n_ctx, self.n_vocab = min(first.n_ctx, second.n_ctx), min(first.n_vocab, second.n_vocab)
        self.bytes_per_token = max(first.bytes_per_token, second.bytes_per_token)

    @cached_property
    def id(self) -> str:
        """Both models' hashes."""
        return f"{self.first.id}+{self.second.id}"

    def hooks(self) -> list[HookPoint]:
        """The canonical hook points that both models have."""
        others = {hook.name: hook.width for hook in self.second.hooks()}
        return [HookPoint(h.name, h.width + others[h.name]) for h in self.first.hooks() if h.name in others]

    def width(self, hook: str) -> int:
        """Width of both models' values together."""
        return self.first.width(hook) + self.second.width(hook)

    def places(self, hooks: Sequence[str]) -> list[Place]:
        """Of each hook the first model's site, then the second's."""
        return side_by_side((self.first, self.second), hooks)

    def tokens(self, text: str, *, bos: Bos = "auto") -> Int[Tensor, "1 ctx"]:
        """A text as a row of a corpus, as `Readable.tokens` says."""
        return row_of(text, self.tokenizer, self.n_ctx, self.name, bos)

    def read(self, tokens: Int[Tensor, "batch ctx"], hooks: Sequence[str]) -> dict[str, Float[Tensor, "batch ctx _"]]:
        """Values at each hook, the first model's before the second's."""
        first, second = self.first.read(tokens, hooks), self.second.read(tokens, hooks)
        return {hook: torch.cat([first[hook], second[hook]], dim=-1) for hook in first}
