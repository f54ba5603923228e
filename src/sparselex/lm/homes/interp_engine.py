"""Subject models that interp-engine runs: in this process, over several GPUs, or with vLLM.

It reads; what is edited or differentiated is left to transformers. Its points and our hooks are two names for the same
tensors: `tests/lm/test_engine.py` compares the two homes for every family.
"""

import asyncio
import hashlib
import threading
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparselex.base.bos import Bos
from sparselex.base.errors import UserError, a
from sparselex.base.files import checksum
from sparselex.base.sites import Hook
from sparselex.lm.config import ModelConfig
from sparselex.lm.families import SITES
from sparselex.lm.homes.transformers import TransformersModel, bytes_per_token
from sparselex.lm.hookpoints import Location, of_head
from sparselex.lm.kept import Kept, Past
from sparselex.lm.rows import row_of
from sparselex.lm.subject import Edit, Extended, HookPoint, Pass, Place, Readout, Writes, side_by_side
from sparselex.lm.tokenizer import ModelTokenizer
from sparselex.lm.widths import Widths, check_ids

POINTS = {
    "hook_resid_pre": "resid_pre",
    "attn.hook_q": "q_norm_in",
    "attn.hook_k": "k_norm_in",
    "attn.hook_v": "value",
    "attn.hook_z": "z",
    "hook_attn_out": "attn_out_post",
    "hook_resid_mid": "resid_mid",
    "hook_mlp_in": "mlp_in",
    "mlp.hook_router_logits": "router_logits",
    "mlp.hook_post": "mlp_act",
    "hook_mlp_out": "mlp_out_post",
    "hook_resid_post": "resid_post",
}
"""Canonical sites as the engine calls them. Its `attn_out` and `mlp_out` are what leaves the projection, in front of a
norm or a scale through which it joins the stream; ours are behind them. Queries and keys as projected it has only where
norms of their own read them."""

OTHERWISE = {
    ("gemma4", "attn.hook_v"): "its values are behind a norm, the hook's in front of it",
    ("gemma4_text", "attn.hook_v"): "its values are behind a norm, the hook's in front of it",
    ("granitemoe", "mlp.hook_router_logits"): "it takes what this router hands on in another order",
}
"""Points that mean something else in a family, and what."""


class EngineModel:
    """A causal language model of interp-engine as a `SubjectModel` that is read and not edited."""

    def __init__(
        self, engine: Any, text_config: Any, tokenizer: ModelTokenizer, config: ModelConfig, held: Any, id: str
    ):
        """Wrap a model of the engine, whatever runs it; `on_transformers` and `on_vllm` are the ways in.

        `held` is the same model as a `TransformersModel` where its weights are in this process, else None; `id` is the
        hash of its architecture and weights.
        """
        self.engine, self.tokenizer, self.config, self.name, self.id = engine, tokenizer, config, config.name, id
        self.held: TransformersModel | None = held
        self.n_layers: int = engine.n_layers
        self.d_model: int = engine.d_model
        self.n_vocab: int = text_config.vocab_size
        self.n_ctx: int = getattr(text_config, "max_position_embeddings", None) or 1 << 30
        self.bytes_per_token: int = bytes_per_token(text_config, held.hf.dtype.itemsize if held else 2)
        self.device: torch.device = held.device if held else torch.device("cpu")  # rows come back from other processes
        self._kind: str = text_config.model_type
        self._widths = Widths(self)

    def hooks(self) -> list[HookPoint]:
        """Every canonical hook point that the engine has of this model."""
        return [HookPoint(hook, self.width(hook)) for hook in self.names]

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
        """Heads of such a site, as the engine counts them."""
        return int(self.engine.n_heads if hook.site in ("attn.hook_q", "attn.hook_z") else self.engine.n_kv_heads)

    def tokens(self, text: str, *, bos: Bos = "auto") -> Int[Tensor, "1 ctx"]:
        """A text as a row of a corpus, as `Readable.tokens` says."""
        return row_of(text, self.tokenizer, self.n_ctx, self.name, bos)

    def read(self, tokens: Int[Tensor, "batch ctx"], hooks: Sequence[str]) -> dict[str, Float[Tensor, "batch ctx _"]]:
        """Values at each hook, the rows in the order of `tokens`."""
        asked = [Hook(hook) for hook in hooks]
        found = self._captured(tokens, [self._address(hook) for hook in asked])
        return {hook: self._value(hook, found[self._address(hook)], tokens) for hook in asked}

    def run(
        self,
        tokens: Int[Tensor, "batch ctx"] | Kept,
        *,
        edits: Mapping[str, Edit] | None = None,
        read: Sequence[str] = (),
        grad: bool = False,
        logits: bool = True,
    ) -> Pass:
        """One forward pass with these readings. Raises `UserError` for edits and gradients."""
        if edits or grad:
            raise UserError(
                f"{'Edits of' if edits else 'Gradients in'} {self.name} were asked for, which interp-engine runs.",
                "a model that transformers runs: the engine only reads",
                "run `sparselex harvest WORKSPACE --engine transformers`, then this again: what was made stays.",
            )
        since = tokens.since if isinstance(tokens, Kept) else 0
        whole = tokens.tokens if isinstance(tokens, Kept) else tokens
        last = f"blocks.{self.n_layers - 1}.hook_resid_post"
        found = self.read(whole, [*read, last] if logits else read)
        predicted = self._decoded(found[Hook(last)])[:, since:] if logits else None
        return Pass(predicted, {hook: found[Hook(hook)][:, since:] for hook in read})

    def last(
        self, tokens: Int[Tensor, "batch ctx"] | Kept, edits: Mapping[str, Edit] | None = None, *, grad: bool = False
    ) -> Float[Tensor, "batch ctx d_last"]:
        """What is behind the last block: the engine takes it through norm and unembedding. Raises `UserError` for edits
        and gradients."""
        hook = f"blocks.{self.n_layers - 1}.hook_resid_post"
        return self.run(tokens, edits=edits, read=[hook], grad=grad, logits=False).values[hook]

    def keep(self, tokens: Int[Tensor, "batch ctx"], hook: str, *, positions: bool = True) -> Kept:
        """A pass and what it read: the engine is not taken up in the middle, so later passes run whole."""
        end = f"blocks.{self.n_layers - 1}.hook_resid_post"
        found = self.read(tokens, [hook, end])
        return Kept(Hook(hook), tokens, found[Hook(hook)], found[Hook(end)])

    def extend(
        self, tokens: Int[Tensor, "batch ctx"], past: Past | None = None, edits: Mapping[str, Edit] | None = None
    ) -> Extended:
        """A pass over a whole text: the engine hands out no keys and values. Raises `UserError` for edits."""
        return Extended(self.last(tokens, edits), None)

    def predict(self, last: Float[Tensor, "n d_last"], *, grad: bool = False) -> Float[Tensor, "n n_vocab"]:
        """The logits of what `last` gave, which has no gradients."""
        return self._decoded(last[None])[0]

    def writes(self, hook: str) -> Writes:
        """How the values at `hook` come into the residual stream. Raises `UserError` like `readout`."""
        return self._weights.writes(hook)

    def readout(self, hook: str) -> Readout:
        """The direct path from `hook` to the logits. Raises `UserError` where the weights are in another process, and
        for a site that does not write to the stream in one linear step."""
        return self._weights.readout(hook)

    @property
    def _weights(self) -> TransformersModel:
        if self.held is None:
            raise UserError(
                f"vLLM holds the weights of {self.name}, and hands none out.",
                "weights in this process",
                "leave logit effects out, or --engine.",
            )
        return self.held

    @cached_property
    def names(self) -> list[Hook]:
        """The names of every canonical hook point."""
        # Of an architecture that has no names here, the engine finds its own way.
        every = (self.held.names if self.held else []) or [
            Hook(f"blocks.{layer}.{site}") for layer in range(self.n_layers) for site in SITES
        ]
        return [hook for hook in every if self._refusal(hook) is None]

    def _refusal(self, hook: Hook) -> str | None:
        """Why the engine has no such value, in its words or ours; None where it has."""
        if why := OTHERWISE.get((self._kind, hook.site)):
            return why
        if not (hook.is_module or hook.site in POINTS):
            return "it has no name for it"
        try:
            return self.engine.refuses(_point(hook))
        except AttributeError as error:  # what it says of a block without attention
            return str(error)

    def _address(self, hook: Hook) -> Any:
        if self.held is not None and (hook.is_module or self.held.names):
            self.held.resolve(hook)  # the nearest names, for one that is misspelt
        if why := self._refusal(hook):
            raise UserError(
                f"interp-engine does not read {str(hook)!r} of {self.name}: {' '.join(why.split())[:400]}",
                "a hook that it has, or module:<dotted path>",
                "choose another hook, or leave --engine out: transformers reads more.",
            )
        return _point(hook)

    def _value(self, hook: Hook, value: Tensor, tokens: Tensor) -> Tensor:
        value = value.reshape(*tokens.shape, -1)
        if hook.head is None:
            return value
        piece = of_head(Location("", "output"), hook.head, self.width(hook)).piece
        assert piece is not None
        return piece(value)

    def _captured(self, tokens: Tensor, addresses: Sequence[Any]) -> dict[Any, Tensor]:
        """`[batch * ctx, ...]` at each of these points."""
        check_ids(tokens, self.n_vocab)
        if not addresses:
            return {}
        try:
            if self.held is not None:
                found = _package().capture(self.engine, tokens.to(self.device), list(addresses))
                return {address: found[address].detach() for address in addresses}
            rows = _waited(_in_order(self.engine.capture(row, list(addresses)) for row in tokens.tolist()))
        except (ValueError, RuntimeError, AttributeError) as error:  # how it refuses what it finds only on the way
            raise self._failed(error) from None
        if short := {len(row[a]) for row in rows for a in addresses} - {tokens.shape[1]}:
            raise self._failed(ValueError(f"rows of {sorted(short)} tokens came back for {tokens.shape[1]}"))
        return {address: torch.cat([row[address] for row in rows]) for address in addresses}

    def _decoded(self, stream: Float[Tensor, "batch ctx d_model"]) -> Float[Tensor, "batch ctx n_vocab"]:
        if self.held is not None and not self.held.ends_in_a_norm:
            raise UserError(
                f"interp-engine does not take the stream of {self.name} to its logits: it ends without a norm.",
                "a model whose last step is a norm and an unembedding",
                "leave --engine out.",
            )
        try:
            logits = _waited(self.engine.decode_residuals(stream.flatten(0, 1)))
        except (ValueError, RuntimeError, AttributeError) as error:
            raise self._failed(error) from None
        return logits.reshape(*stream.shape[:2], -1).to(self.device)

    def _failed(self, error: Exception) -> UserError:
        return UserError(
            f"interp-engine failed on {self.name}: {' '.join(str(error).split())[:600]}",
            "values of every token at each hook",
            "leave --engine out, or choose other hooks.",
        )


def on_transformers(held: TransformersModel, hf_tokenizer: Any) -> EngineModel:
    """A model in this process, read by the engine's hooks instead of ours. Raises `UserError` without the package, and
    for an architecture that it does not know."""
    package = _package()
    try:
        engine = package.EagerModel(held.name, hf_model=held.hf, tokenizer=hf_tokenizer)
    except Exception as error:  # a door: it raises many kinds, all meaning that it cannot find its way in the model
        raise _unknown(held.name, error) from None
    return EngineModel(engine, held.hf.config.get_text_config(), held.tokenizer, held.config, held, held.id)


def on_vllm(folder: Path, tokenizer: ModelTokenizer, text_config: Any, config: ModelConfig) -> EngineModel:
    """The model of a folder on every GPU that this process sees. Raises `UserError` without the package, for a twin
    (its weights are drawn in this process), and for what vLLM cannot load."""
    if config.twin != "none":
        raise UserError(
            f"What was asked for is {a(config.twin)} twin, and vLLM reads weights from files alone.",
            "the model itself",
            "leave --engine out for twins.",
        )
    package = _package()
    try:
        engine = package.load_model(
            str(folder),
            backend="vllm",
            dtype=config.dtype,
            num_gpus=torch.cuda.device_count(),
            trust_remote_code=config.trust_remote_code,
        )
    except Exception as error:  # a door, like that of transformers
        raise _unknown(config.name, error) from None
    digest = hashlib.sha256(config.dtype.encode())
    for path in sorted([folder / "config.json", *folder.glob("*.safetensors")]):
        digest.update(f"{path.name} {checksum(path)}".encode())
    return EngineModel(engine, text_config, tokenizer, config, None, f"vllm-{digest.hexdigest()[:16]}")


def runs_vllm(config: ModelConfig) -> bool:
    """Whether the engine runs a model of this configuration with vLLM: on every GPU, where that is installed."""
    return config.device == "cuda" and find_spec("vllm") is not None


def _unknown(name: str, error: Exception) -> UserError:
    return UserError(
        f"interp-engine cannot run {name!r}: {' '.join(str(error).split())[:600]}",
        "an architecture that it knows, and memory for it",
        "leave --engine out: transformers may run it.",
    )


def _package() -> Any:
    if find_spec("interp_engine") is None:
        raise UserError(
            "The engine interp-engine was asked for and is not installed.",
            "the package interp-engine beside sparselex",
            "run `pip install interp-engine` (sparselex's extra `engine`); `interp-engine[vllm]` brings vLLM.",
        )
    return import_module("interp_engine")


def _point(hook: Hook) -> Any:
    address = import_module("interp_engine.address").Address
    return address(hook.site) if hook.is_module else address(POINTS[hook.site], hook.layer)


async def _in_order(calls: Any) -> list[Any]:
    """What each of these gives, all under way together, in the order in which they were asked."""
    return await asyncio.gather(*calls)


def _waited(call: Any) -> Any:
    """What an asynchronous call of the engine gives. All run on one loop of their own thread: vLLM's engine stays with
    the loop that it was started on, and a notebook's is taken."""
    return asyncio.run_coroutine_threadsafe(call, _LOOP.started()).result()


class _Loop:
    """An event loop in a thread of its own, started when it is first needed."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            threading.Thread(target=self._loop.run_forever, name="interp-engine", daemon=True).start()
        return self._loop


_LOOP = _Loop()
