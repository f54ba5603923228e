"""What the house asks of a language model: protocols and what they hand out. `lm/homes` has the classes, `lm/load.py`
the door."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparselex.base.bos import Bos
from sparselex.base.errors import UserError
from sparselex.base.sites import Hook
from sparselex.lm.kept import Kept, Past
from sparselex.lm.tokenizer import ModelTokenizer

Edit = Callable[[Tensor], Tensor]
"""`[batch, ctx, width]` values of one hook in, those that take their place out."""


class HookPoint(NamedTuple):
    """A place that can be read and edited."""

    name: Hook
    """Its hook."""

    width: int
    """Numbers it holds for each token."""


class Pass(NamedTuple):
    """What one forward pass gave."""

    predicted: Float[Tensor, "batch ctx n_vocab"] | None
    """Logits; None where they were not asked for."""

    values: dict[str, Tensor]
    """`[batch, ctx, width]` at each hook that was read."""

    @property
    def logits(self) -> Float[Tensor, "batch ctx n_vocab"]:
        """What the model predicts. Raises `UserError` where the pass was told to leave it out."""
        if self.predicted is None:
            said = "The logits of a pass with logits=False were asked for."
            raise UserError(said, "a pass that goes through to the end", "leave logits=False out of `run`.")
        return self.predicted


class Extended(NamedTuple):
    """What a pass over tokens that follow others gave."""

    last: Float[Tensor, "batch ctx d_last"]
    """What the unembedding read of these tokens."""

    past: Past | None
    """Keys and values of all tokens so far; None of a model that keeps something else, which reads the whole text again
    for every token."""


class Place(NamedTuple):
    """One site of one model, and where its values stand among those read side by side."""

    model: "SubjectModel"
    """The model that it is in."""

    hook: Hook
    """Its hook there."""

    columns: slice
    """Its columns in the values of all hooks side by side."""

    @property
    def width(self) -> int:
        """How many columns those are."""
        return self.columns.stop - self.columns.start


def side_by_side(models: Sequence["SubjectModel"], hooks: Sequence[str]) -> list[Place]:
    """Of each hook the site in each of the models, in the order in which their values stand side by side."""
    found, start = list[Place](), 0
    for hook in hooks:
        for model in models:
            stop = start + model.width(hook)
            found.append(Place(model, Hook(hook), slice(start, stop)))
            start = stop
    return found


class Writes(NamedTuple):
    """How the values of a site come into the residual stream."""

    matrix: Float[Tensor, "d_hook d_model"] | None
    """What projects them to it, a norm on the way as its weight alone; None where they are in the stream's own
    coordinates."""

    adds: bool
    """Whether they are added to the stream, so that what several sites write sums up; else they are the stream at one
    moment."""

    scale: float = 1.0
    """What the stream is multiplied by after it, up to its end (Gemma 4 scales every block's output)."""

    def to_stream(self, directions: Float[Tensor, "n d_hook"]) -> Float[Tensor, "n d_model"]:
        """Directions of the site as what they write to the stream at its end."""
        return (directions if self.matrix is None else directions @ self.matrix) * self.scale


class Readout(NamedTuple):
    """The direct path from a site to the logits, up to the scale of the norms on it and before any soft-capping."""

    writes: Writes
    """From the site to the residual stream."""

    unembed: Float[Tensor, "d_model n_vocab"]
    """Unembedding with the final norm's weight folded in, centred where that norm centres, times what the model
    multiplies its logits by."""

    def logits(self, directions: Float[Tensor, "n d_hook"]) -> Float[Tensor, "n n_vocab"]:
        """Change of every logit per unit along each direction, the scale of norms left out."""
        return self.writes.to_stream(directions) @ self.unembed


@runtime_checkable
class Readable(Protocol):
    """What can be read on tokens: a model, or several read side by side. Weights are never changed."""

    name: str
    """What it is called in messages and on pages."""

    tokenizer: ModelTokenizer
    """Text to its tokens."""

    device: torch.device
    """Where it computes."""

    d_model: int
    """Width of the residual stream."""

    n_layers: int
    """Number of blocks."""

    n_ctx: int
    """Tokens that it reads at most."""

    n_vocab: int
    """Tokens that it tells apart, those among them that its tokenizer has no use for."""

    bytes_per_token: int
    """Memory that a forward pass has in use for each token at a time, about."""

    @property
    def id(self) -> str:
        """Hash of architecture and weights."""
        ...

    def hooks(self) -> list[HookPoint]:
        """Every canonical hook point; empty for an architecture that has no names here."""
        ...

    def width(self, hook: str) -> int:
        """Width of the values at one hook. Raises `UserError` with the nearest names if there is no such place."""
        ...

    def places(self, hooks: Sequence[str]) -> list[Place]:
        """The single sites of these hooks, in the order in which their values stand side by side."""
        ...

    def tokens(self, text: str, *, bos: Bos = "auto") -> Int[Tensor, "1 ctx"]:
        """A text as a row of a corpus whose `CorpusConfig.bos` is the same: BOS first where the tokenizer itself begins
        a text with it (`auto`), where it has one (`always`), or `never`. Names of special tokens in it are ordinary
        text.

        Raises `UserError` for a text without tokens, and for one longer than the model reads.
        """
        ...

    def read(self, tokens: Int[Tensor, "batch ctx"], hooks: Sequence[str]) -> dict[str, Float[Tensor, "batch ctx _"]]:
        """Values at each hook, without gradients, by a pass that stops after the deepest of them."""
        ...


@runtime_checkable
class SubjectModel(Readable, Protocol):
    """A causal language model that can be read and edited at named sites."""

    def run(
        self,
        tokens: Int[Tensor, "batch ctx"] | Kept,
        *,
        edits: Mapping[str, Edit] | None = None,
        read: Sequence[str] = (),
        grad: bool = False,
        logits: bool = True,
    ) -> Pass:
        """One forward pass: the values of the hooks in `edits` replaced on the way, those of `read` kept. Given what
        was kept of a pass, only what lies behind is computed, and edits see the positions that are.

        A value read at an edited site, or after it, is the value after the edit. With `grad`, gradients flow through
        edits and from everything later into the values that were read (the weights have none). Without `logits` the
        pass stops after the deepest site that is read.

        Raises `UserError` for an unknown hook, one that the pass never reaches, and tokens of another vocabulary.
        """
        ...

    def last(
        self, tokens: Int[Tensor, "batch ctx"] | Kept, edits: Mapping[str, Edit] | None = None, *, grad: bool = False
    ) -> Float[Tensor, "batch ctx d_last"]:
        """What the unembedding reads, with these edits made on the way: the logits of tokens of one's choice follow by
        `predict`. With `grad`, gradients flow back through it into the edits. Raises `UserError` like `run`."""
        ...

    def keep(self, tokens: Int[Tensor, "batch ctx"], hook: str, *, positions: bool = True) -> Kept:
        """A pass over `tokens`, without edits or gradients, and what it leaves for later passes that change something
        at `hook` or behind it. A model that cannot be taken up in the middle runs whole there, to the same end. Without
        `positions` no keys and values are kept, for those that change every token anyhow."""
        ...

    def extend(
        self, tokens: Int[Tensor, "batch ctx"], past: Past | None = None, edits: Mapping[str, Edit] | None = None
    ) -> Extended:
        """A pass over tokens that follow those of `past`, without gradients; edits see the new tokens alone. Raises
        `UserError` like `run`."""
        ...

    def predict(self, last: Float[Tensor, "n d_last"], *, grad: bool = False) -> Float[Tensor, "n n_vocab"]:
        """The logits of what `last` gave; gradients flow back into it with `grad`."""
        ...

    def writes(self, hook: str) -> Writes:
        """How the values at `hook` come into the residual stream. Raises `UserError` for a site that does not write to
        it in one linear step."""
        ...

    def readout(self, hook: str) -> Readout:
        """The direct path from `hook` to the logits. Raises `UserError` like `writes`."""
        ...

    def per_head(self, hook: str) -> tuple[int, int]:
        """Heads and width per head of a site that is divided into heads, in the order in which they are flattened.
        Raises `UserError` for any other."""
        ...
