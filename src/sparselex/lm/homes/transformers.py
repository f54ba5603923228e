"""Subject models that Hugging Face's transformers runs."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from operator import attrgetter
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparselex.base.bos import Bos
from sparselex.base.errors import UserError
from sparselex.base.sites import Hook
from sparselex.lm.config import ModelConfig
from sparselex.lm.families import ADDED, Family
from sparselex.lm.homes.passes import Passes
from sparselex.lm.hookpoints import Location, family_of, locate, names, of_head
from sparselex.lm.kept import Kept, Past
from sparselex.lm.norms import linear
from sparselex.lm.rows import row_of
from sparselex.lm.subject import Edit, Extended, HookPoint, Pass, Place, Readout, Writes, side_by_side
from sparselex.lm.tokenizer import ModelTokenizer
from sparselex.lm.widths import Widths

_OF_STREAM = ("hook_resid_pre", "hook_resid_mid", "hook_resid_post")
_FOUND_ANEW = ("_family", "passes")
_PROJECTED = ("attn.hook_z", "mlp.hook_post")


class TransformersModel:
    """A causal language model of transformers as a `SubjectModel`. Its weights are never changed.

    Queries and keys are as projected: before rotary embedding and, in Qwen 3 and Gemma 3, before their norms. Attention
    and MLP outputs are what is added to the residual stream.
    """

    def __init__(self, model: Any, tokenizer: ModelTokenizer, config: ModelConfig):
        """Wrap a model already in memory; `load_model` is the usual way in."""
        self.config, self.tokenizer, self.name = config, tokenizer, config.name
        self.hf: Any = model.eval().requires_grad_(False)
        text = self.hf.config.get_text_config()
        self.n_layers: int = text.num_hidden_layers
        self.d_model: int = text.hidden_size
        self.n_vocab: int = text.vocab_size
        self.n_ctx: int = getattr(text, "max_position_embeddings", None) or 1 << 30
        self.device: torch.device = next(model.parameters()).device
        self.bytes_per_token: int = bytes_per_token(text, next(model.parameters()).dtype.itemsize)
        self._widths = Widths(self)
        self._located: dict[Hook, Location] = {}

    def __getstate__(self) -> dict[str, Any]:
        # For another process, which finds its hooks anew: what views into a tensor need not survive the way.
        return {name: value for name, value in self.__dict__.items() if name not in _FOUND_ANEW} | {"_located": {}}

    @cached_property
    def id(self) -> str:
        """Hash of architecture and weights."""
        digest = hashlib.sha256(self.hf.config.to_json_string(use_diff=True).encode())
        for name, tensor in sorted(self.hf.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()[:16]

    def hooks(self) -> list[HookPoint]:
        """Every canonical hook point of this model; empty for a family we do not know."""
        return [HookPoint(hook, self.width(hook)) for hook in self.names]

    def resolve(self, hook: str) -> Location:
        """Where the value of `hook` passes. Raises `UserError` with the nearest names if there is no such place."""
        hook = Hook(hook)
        if hook not in self._located:
            self._located[hook] = self._locate(hook)
        return self._located[hook]

    def width(self, hook: str) -> int:
        """Width of the values at `hook`: one token is run through the model to see."""
        return self._widths.of(hook)

    def places(self, hooks: Sequence[str]) -> list[Place]:
        """These hooks, side by side in this order."""
        return side_by_side((self,), hooks)

    def per_head(self, hook: str) -> tuple[int, int]:
        """Heads and width per head of an `attn.hook_q/k/v/z` site, in the order in which they are flattened."""
        return self._widths.per_head(hook)

    def n_heads(self, hook: Hook) -> int:
        """Heads of such a site. Keys and values may have fewer than queries, and are as wide in each."""
        if hook.site in ("attn.hook_k", "attn.hook_v"):
            return self.width(hook) // self.per_head(f"blocks.{hook.layer}.attn.hook_q")[1]
        return int(self.hf.config.get_text_config().num_attention_heads)

    def tokens(self, text: str, *, bos: Bos = "auto") -> Int[Tensor, "1 ctx"]:
        """A text as a row of a corpus, as `Readable.tokens` says."""
        return row_of(text, self.tokenizer, self.n_ctx, self.name, bos)

    def read(self, tokens: Int[Tensor, "batch ctx"], hooks: Sequence[str]) -> dict[str, Float[Tensor, "batch ctx _"]]:
        """Values at each hook, without gradients, by a pass that stops after the deepest of them."""
        return self.run(tokens, read=hooks, logits=False).values

    @cached_property
    def passes(self) -> Passes:
        """How it is run."""
        return Passes(self.hf, self._family, self.resolve, self.name)

    def run(
        self,
        tokens: Int[Tensor, "batch ctx"] | Kept,
        *,
        edits: Mapping[str, Edit] | None = None,
        read: Sequence[str] = (),
        grad: bool = False,
        logits: bool = True,
    ) -> Pass:
        """One forward pass with these edits and readings, as `SubjectModel.run` says."""
        return self.passes.run(tokens, edits=edits or {}, read=read, grad=grad, logits=logits)

    def last(
        self, tokens: Int[Tensor, "batch ctx"] | Kept, edits: Mapping[str, Edit] | None = None, *, grad: bool = False
    ) -> Float[Tensor, "batch ctx d_last"]:
        """What the unembedding reads, as `SubjectModel.last` says; the logits themselves where what comes behind the
        unembedding is not known."""
        return self.passes.last(tokens, edits or {}, grad=grad)

    def predict(self, last: Float[Tensor, "n d_last"], *, grad: bool = False) -> Float[Tensor, "n n_vocab"]:
        """The logits of what `last` gave; gradients flow back into it with `grad`."""
        return self.passes.predict(last, grad=grad)

    def keep(self, tokens: Int[Tensor, "batch ctx"], hook: str, *, positions: bool = True) -> Kept:
        """A pass over `tokens` for later ones that begin at `hook`, as `SubjectModel.keep` says."""
        return self.passes.keep(tokens, Hook(hook), positions=positions)

    def extend(
        self, tokens: Int[Tensor, "batch ctx"], past: Past | None = None, edits: Mapping[str, Edit] | None = None
    ) -> Extended:
        """A pass over tokens that follow others, as `SubjectModel.extend` says."""
        return self.passes.extend(tokens, past, edits or {})

    def writes(self, hook: str) -> Writes:
        """How the values at `hook` come into the residual stream. Raises `UserError` for a site that does not write to
        it in one linear step."""
        hook = Hook(hook)
        family = self._family
        if family is None or hook.is_module or hook.site not in (*_OF_STREAM, *ADDED, *_PROJECTED):
            raise UserError(
                f"{str(hook)!r} does not write to the residual stream in one linear step.",
                "a residual, output, hook_z or mlp.hook_post site of a known architecture",
                "leave logit effects out for this hook.",
            )
        self.resolve(hook)
        matrix = self._projection(family, hook) if hook.site in _PROJECTED else None
        return Writes(matrix, adds=hook.site not in _OF_STREAM, scale=self._later(family, hook))

    def readout(self, hook: str) -> Readout:
        """The direct path from `hook` to the logits. Raises `UserError` like `writes`."""
        return Readout(self.writes(hook), self._unembed())

    @cached_property
    def _family(self) -> Family | None:
        return family_of(self.hf)

    @property
    def ends_in_a_norm(self) -> bool:
        """Whether a norm and the unembedding are all that the stream passes at its end, as far as we know."""
        return self._family is None or bool(self._family.final_norm)

    @cached_property
    def names(self) -> list[Hook]:
        """The names of every canonical hook point."""
        return names(self._family, self.hf, self.n_layers)

    def _locate(self, hook: Hook) -> Location:
        whole = locate(hook, self.hf, self._family, self.n_layers)
        if hook.head is None:
            return whole
        return of_head(whole, hook.head, self.width(hook))

    def _projection(self, family: Family, hook: Hook) -> Tensor:
        """How the values of a site are projected to the stream, `[width, d_model]`."""
        module = self.hf.get_submodule(self.resolve(hook).path)
        weight = module.weight.detach().float()
        rows = weight if type(module).__name__ == "Conv1D" else weight.T
        if norm := family.sites[hook.site].through:
            rows = linear(self.hf.get_submodule(f"{family.layers}.{hook.layer}.{norm}"), self.d_model).after(rows)
        rows = rows * family.residual_scale(self.hf.config.get_text_config())
        if hook.head is None:
            return rows
        d_head = self.per_head(hook)[1]
        return rows[hook.head * d_head : (hook.head + 1) * d_head]

    def _later(self, family: Family, hook: Hook) -> float:
        """What the stream is multiplied by on its way from a site to the end."""
        assert hook.layer is not None
        if not family.block_scale:
            return 1.0
        first = hook.layer + (hook.site == "hook_resid_post")
        scales = (attrgetter(f"{family.layers}.{layer}.{family.block_scale}") for layer in range(first, self.n_layers))
        return math.prod((float(scale(self.hf)) for scale in scales), start=1.0)

    def _unembed(self) -> Tensor:
        assert self._family is not None
        if not self._family.final_norm:
            raise UserError(
                f"The blocks of {self.name} normalise the stream itself, each anew.",
                "a residual stream to which every block only adds",
                "leave logit effects out for this model.",
            )
        unembed = self.hf.get_output_embeddings().weight.detach().float().T
        if unembed.shape[0] != self.d_model:
            raise UserError(
                f"{self.name} projects the stream before its unembedding.",
                "an unembedding of the stream itself",
                "leave logit effects out for this model.",
            )
        norm = linear(self.hf.get_submodule(self._family.final_norm), self.d_model)
        return norm.before(unembed) * self._family.logit_scale(self.hf.config.get_text_config())


def bytes_per_token(config: Any, itemsize: int) -> int:
    """Of one block at a time: the stream a few times over, queries to values, and both halves of a gated MLP with what
    is made of them."""
    d_mlp = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
    return itemsize * (10 * config.hidden_size + 4 * int(d_mlp if isinstance(d_mlp, int) else max(d_mlp)))
