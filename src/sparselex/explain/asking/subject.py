"""The model whose latents are explained, for writers and judges that look at what it does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.causal.latents import Latents
from sparselex.lm.subject import SubjectModel


@dataclass(frozen=True, eq=False)
class Subject:
    """A dictionary at its place in its model."""

    model: SubjectModel
    """The model itself."""

    latents: Latents
    """The dictionary's latents there."""

    start: tuple[int, ...]
    """Tokens with which a text begins: BOS, where the rows of the run's corpus have one."""

    within: Callable[[Float[Tensor, "n d_in"]], Bool[Tensor, " n"]]
    """Whether values that are read are of a size that the dictionary is shown."""

    @torch.no_grad()
    def activations(self, texts: Sequence[Sequence[int]], latent: int) -> list[Float[Tensor, " n"]]:
        """What a latent is at each token of some texts, given as tokens; 0 at those whose norm is far from all others,
        as everywhere. Texts longer than the model reads are cut."""
        found = [torch.zeros(len(text)) for text in texts]
        n_start, number = len(self.start), torch.tensor([latent])
        for place, text in enumerate(texts):
            tokens = torch.tensor([[*self.start, *text][: self.model.n_ctx]])
            if tokens.shape[1] <= n_start:
                continue
            read = self.model.read(tokens, self.latents.read)
            values = torch.cat([read[hook][0, n_start:].float() for hook in self.latents.read], dim=-1)
            acts = self.latents.activations(values, number.expand(len(values))).cpu()
            found[place][: len(acts)] = acts * self.within(values).cpu()
        return found


Opens = Callable[[], Subject]
"""Opens the model, when somebody first looks at what it does."""


def lacking(opens: Opens | None) -> str:
    """Why the model cannot be looked at; empty where it can, and is open then."""
    if opens is None:
        return "the model of these latents is not at hand"
    try:
        opens()
    except UserError as error:
        return str(error)
    return ""
