"""How wide the values at each hook of one model are, and into how many heads those of attention divide: what every home
asks, answered once."""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.base.sites import Hook
from sparselex.lm.families import OF_HEADS


@runtime_checkable
class _Home(Protocol):
    @property
    def names(self) -> list[Hook]: ...

    def read(self, tokens: Tensor, hooks: Sequence[str]) -> Mapping[str, Tensor]: ...

    def n_heads(self, hook: Hook) -> int: ...


class Widths:
    """Widths of the values of one model. They are seen on one token, those of all its canonical hooks in one pass, and
    remembered: configurations name them in too many ways to be asked."""

    def __init__(self, home: _Home):
        """`home` says by `n_heads` into how many heads the values of an `attn.hook_q/k/v/z` site divide."""
        self._home = home
        self._seen: dict[Hook, int] = {}

    def of(self, hook: str) -> int:
        """Width at `hook`. Raises `UserError` for a head that there is not, and what reading raises."""
        hook = Hook(hook)
        if hook.head is not None:
            n_heads, d_head = self.per_head(hook)
            if hook.head >= n_heads:
                given = f"{str(hook)!r} has {n_heads} heads and none of number {hook.head}."
                raise UserError(given, f"a head from 0 to {n_heads - 1}", "choose another head.")
            return d_head
        if hook not in self._seen:
            names = self._home.names
            found = self._home.read(torch.zeros(1, 1, dtype=torch.long), names if hook in names else [hook])
            self._seen |= {Hook(name): value.shape[-1] for name, value in found.items()}
        return self._seen[hook]

    def per_head(self, hook: str) -> tuple[int, int]:
        """Heads and width per head of an `attn.hook_q/k/v/z` site, in the order in which they are flattened. Raises
        `UserError` for any other."""
        whole = Hook(hook).whole
        if whole.site not in OF_HEADS:
            todo = "choose such a site."
            raise UserError(f"{str(hook)!r} is not divided into heads.", "attn.hook_q, _k, _v or _z", todo)
        width = self.of(whole)
        n_heads = self._home.n_heads(whole)
        return n_heads, width // n_heads


def check_ids(tokens: Int[Tensor, "batch ctx"], n_vocab: int) -> None:
    """Raise `UserError` for tokens that a model of `n_vocab` tokens does not have."""
    if tokens.numel() and (int(tokens.min()) < 0 or int(tokens.max()) >= n_vocab):
        raise UserError(
            f"Token ids run from {int(tokens.min())} to {int(tokens.max())}.",
            f"ids from 0 to {n_vocab - 1}",
            "use the corpus and the model of one tokenizer, every token of which has a row in the embedding.",
        )
