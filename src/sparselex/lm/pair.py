"""Two models read side by side on the same tokens: what a crosscoder between models is trained on."""

from collections.abc import Sequence
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.lm.hookpoints import HookPoint
from sparselex.lm.subject import Place, SubjectModel


class ModelPair:
    """Two models with one vocabulary. The values of a hook are those of the first model, then those of the second."""

    def __init__(self, first: SubjectModel, second: SubjectModel):
        """Raises `UserError` if the two split text into different tokens."""
        if first.tokenizer.id != second.tokenizer.id:
            raise UserError(
                f"{first.config.name} and {second.config.name} split text into different tokens.",
                "two models with one tokenizer, such as a base model and its fine-tuned version",
                "choose another second model.",
            )
        self.first, self.second = first, second
        self.tokenizer, self.d_model, self.n_layers = (
            first.tokenizer,
            first.d_model,
            min(first.n_layers, second.n_layers),
        )
        self.n_ctx, self.n_vocab = min(first.n_ctx, second.n_ctx), first.n_vocab
        self.device = first.device
        self.name = f"{first.name} and {second.name}"

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

    def read(self, tokens: Int[Tensor, "batch ctx"], hooks: Sequence[str]) -> dict[str, Float[Tensor, "batch ctx _"]]:
        """Values at each hook, the first model's before the second's."""
        found = [model.read(tokens, hooks) for model in (self.first, self.second)]
        return {hook: torch.cat([part[hook] for part in found], dim=-1) for hook in hooks}

    def places(self, hook: str) -> list[Place]:
        """The sites in the first model, then those in the second."""
        start = self.first.width(hook)
        moved = [
            place._replace(columns=slice(start + place.columns.start, start + place.columns.stop))
            for place in self.second.places(hook)
        ]
        return [*self.first.places(hook), *moved]
