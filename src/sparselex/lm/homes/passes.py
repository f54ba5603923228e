"""Forward passes of a model of transformers: whole, from the middle of one that was kept, behind tokens read before."""

import inspect
import logging
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from sparselex.base.errors import UserError, a
from sparselex.base.sites import Hook
from sparselex.lm.families import READ_ONLY, Family
from sparselex.lm.hookpoints import Location, check_editable
from sparselex.lm.hooks import Visit
from sparselex.lm.kept import Kept, Past, recording, taken_up
from sparselex.lm.subject import Edit, Extended, Pass
from sparselex.lm.widths import check_ids

_log = logging.getLogger(__name__)


class Passes:
    """The passes of one model, as `SubjectModel` says of `run`, `last`, `predict`, `keep` and `extend`."""

    def __init__(self, hf: Any, family: Family | None, resolve: Callable[[str], Location], name: str):
        """`resolve` says where the value of a hook passes."""
        self.hf, self.family, self.resolve, self.name = hf, family, resolve, name
        text = hf.config.get_text_config()
        self.n_layers: int = text.num_hidden_layers
        self.n_vocab: int = text.vocab_size
        self.device: torch.device = next(hf.parameters()).device
        self._taken_up_at: dict[Hook, _TakenUp] = {}
        self._one_at_a_time = threading.RLock()

    def run(
        self, tokens: Tensor | Kept, *, edits: Mapping[str, Edit], read: Sequence[str], grad: bool, logits: bool
    ) -> Pass:
        """One forward pass with these edits and readings."""
        if not (logits or read):
            return Pass(None, {})
        with torch.set_grad_enabled(grad):
            return self._passed(tokens, edits, read, grad=grad, stops=not logits)[0]

    def last(
        self, tokens: Tensor | Kept, edits: Mapping[str, Edit], *, grad: bool
    ) -> Float[Tensor, "batch ctx d_last"]:
        """What the unembedding reads; the logits where what comes behind it is not known."""
        ends = [] if self.behind is None else [self._end]
        with torch.set_grad_enabled(grad):
            seen = self._passed(tokens, edits, ends, grad=grad, stops=bool(ends))[0]
        return seen.values[self._end] if ends else seen.logits

    def predict(self, last: Float[Tensor, "n d_last"], *, grad: bool) -> Float[Tensor, "n n_vocab"]:
        """The logits of what `last` gave."""
        with torch.set_grad_enabled(grad):
            return last if self.behind is None else self.behind(self.hf.get_output_embeddings()(last))

    @torch.no_grad()
    def extend(self, tokens: Tensor, past: Past | None, edits: Mapping[str, Edit]) -> Extended:
        """A pass over tokens that follow others."""
        ends = [] if self.behind is None else [self._end]
        seen, now = self._passed(tokens, edits, ends, stops=bool(ends), past=past, keeps=self._remembers)
        return Extended(seen.values[self._end] if ends else seen.logits, now)

    @torch.no_grad()
    def keep(self, tokens: Int[Tensor, "batch ctx"], hook: Hook, *, positions: bool) -> Kept:
        """A pass for later ones that begin at `hook`. Whether this model can be taken up there, in depth and in
        position, is tried once, on a few tokens."""
        with self._one_at_a_time:
            if hook.whole not in self._taken_up_at:
                self._taken_up_at[hook.whole] = self._tried(hook)
            at = self._taken_up_at[hook.whole]
            return self._kept(tokens, hook, at if positions else at._replace(position=False))

    @cached_property
    def _end(self) -> Hook:
        """What the unembedding reads, by a name that no module has: that of the module means what it gives."""
        return Hook(f"module:what {self._unembedding} reads")

    @cached_property
    def _unembedding(self) -> str:
        unembedding = self.hf.get_output_embeddings()
        return next(name for name, module in self.hf.named_modules() if module is unembedding)

    def _passed(
        self,
        tokens: Tensor | Kept,
        edits: Mapping[str, Edit],
        read: Sequence[str],
        *,
        grad: bool = False,
        stops: bool = False,
        past: Past | None = None,
        keeps: bool = False,
    ) -> tuple[Pass, Past | None]:
        """One forward pass, of what is kept only what lies behind it; keys and values where they are wanted and the
        model has such. Passes of several threads come one after another: hooks are the whole model's."""
        if not isinstance(edits, Mapping):
            raise UserError(
                f"{a(type(edits).__name__)} of edits was given.".capitalize(),
                "a function for each hook",
                "write `edits=bound(edits)`, from sparselex.causal.edits.",
            )
        changed, wanted = {Hook(hook): edit for hook, edit in edits.items()}, [Hook(hook) for hook in read]
        to_end = self.hf.get_output_embeddings() is not None and self._end in wanted
        ends = {self._end: Location(self._unembedding, "input")} if to_end else {}
        locations = {hook: self.resolve(hook) for hook in (*changed, *wanted) if hook not in ends} | ends
        for hook in changed:
            check_editable(hook, self.family)
        kept, left = None, 0  # positions that run and are not asked for
        if isinstance(tokens, Kept):
            kept = tokens
            kept.check(locations)
            if kept.past is None:
                left, kept = kept.since, replace(kept, since=0)
            past = kept.past.of(None, kept.since) if kept.past is not None and kept.since else None
            tokens = kept.tokens[:, kept.since :]
        shape = (tokens.shape[0], tokens.shape[1])
        visit = Visit({hook: _behind(left, edit) for hook, edit in changed.items()}, wanted, shape)
        given, cache = None, _cache(past) if past is not None or keeps else None
        again = nullcontext() if kept is None else taken_up(self.hf, kept)
        with self._one_at_a_time, visit.of(self.hf, locations, grad=grad, stops=stops), again:
            given = self._forward(tokens.to(self.device), cache, past.n_tokens if past else 0)
        # A pass that was stopped has been at everything that is read, and edits further down mean nothing to it.
        if (given is not None or ends) and visit.missed:
            raise self._unreached(visit.missed)
        # Not a slice of what is whole: gradients are asked for of the very tensor that was passed on.
        values = {hook: value[:, left:] if left else value for hook, value in visit.values.items()}
        logits = None if given is None or stops else given[:, left:]
        return Pass(logits, values), _past(cache, self.n_layers) if cache is not None and keeps else None

    def _kept(self, tokens: Tensor, hook: Hook, at: "_TakenUp") -> Kept:
        block, location = self._block_of(hook), self.resolve(hook)
        read = [hook] if self.behind is None else [hook, self._end]
        layers = self.family.layers if self.family else ""
        watch: Any = nullcontext({})
        if at.depth and block is not None:
            shape = (tokens.shape[0], tokens.shape[1])
            watch = recording(self.hf, layers, block, location, shape, at.by_token)
        with watch as finished:
            seen, past = self._passed(tokens, {}, read, stops=self.behind is not None, keeps=at.position)
        skipped = tuple(f"{layers}.{layer}" for layer in range(block - 1)) if finished and block else ()
        last = seen.logits if self.behind is None else seen.values[self._end]
        ends = () if self.family is None else (self.family.final_norm, self._unembedding)
        values = seen.values[hook]
        gives = location.path if location.side == "output" else ""
        return Kept(hook, tokens, values, last, 0, finished, block, layers, ends, skipped, past, gives)

    def _block_of(self, hook: Hook) -> int | None:
        """The block that a place is in; None outside of the blocks, and where it is not known where they are."""
        if hook.layer is not None or self.family is None:
            return hook.layer
        found = re.match(re.escape(self.family.layers) + r"\.(\d+)\b", hook.site)
        return None if found is None else int(found[1])

    def _tried(self, hook: Hook) -> "_TakenUp":
        """How the model can be taken up at a hook. Which modules give something of each token is what rows of two
        lengths agree in: as many tokens as heads would deceive one of them."""
        depth, position = self._block_of(hook) is not None, self._remembers
        by_token = frozenset[str]()
        if depth:
            try:
                first, second = (self._kept(few, hook, _TakenUp(True, False)) for few in self._few)
                by_token = frozenset(first.finished) & frozenset(second.finished)
                depth = self._is_equal_from(hook, _TakenUp(True, False, by_token))
            except Exception as error:  # a door: a model that is not made for it may fail in any way, and runs whole
                self._tell(hook, error)
                depth = False
        position = position and self._is_equal_from(hook, _TakenUp(depth, True, by_token))
        return _TakenUp(depth, position, by_token)

    def _tell(self, what: str, error: Exception) -> None:
        """Say under `--verbose` why the model runs whole: a fault of ours would hide behind it else."""
        _log.info("%s runs whole at %s: %s: %s", self.name, what, type(error).__name__, error)

    @cached_property
    def _few(self) -> tuple[Tensor, Tensor]:
        """Tokens to try something on, in rows of two lengths."""
        first, second = (torch.arange(2 * n).remainder(self.n_vocab).view(2, n) for n in (7, 5))
        return first, second

    @cached_property
    def _remembers(self) -> bool:
        """Whether keys and values are all that a token sees of those before it, tried on a few."""
        if _changes_with_length(self.hf.config.get_text_config()):
            return False
        few, end = self._few[0], [self._end] if self.behind is not None else []
        try:
            first, past = self._passed(few[:, :4], {}, end, stops=bool(end), keeps=True)
            found = self._passed(few[:, 4:], {}, end, stops=bool(end), past=past)[0] if past else None
        except Exception as error:  # a door: a model that keeps something else may fail in any way
            self._tell("keys and values", error)
            return False
        whole = self.last(few, {}, grad=False)
        last = lambda seen: seen.values[end[0]] if end else seen.logits
        return found is not None and _is_equal(torch.cat([last(first), last(found)], dim=1), whole)

    @torch.no_grad()
    def _is_equal_from(self, hook: Hook, at: "_TakenUp") -> bool:
        """Whether the model, taken up at `hook`, gives what it gives when it runs whole, with an edit there."""
        tokens = self._few[0]
        since = 3 if at.position else 0
        edit = lambda x: torch.cat([x[:, :since], x[:, since:].flip(-1)], 1)
        edits: dict[str, Edit] = {} if hook.site in READ_ONLY else {hook: edit}
        try:
            kept = self._kept(tokens, hook, at)
            if (at.depth and not kept.finished and kept.block != 0) or (at.position and kept.past is None):
                return False
            again = kept.of(torch.tensor([1, 0, 0]), since)
            found = self.last(again, {hook: lambda x: x.flip(-1)} if edits else {}, grad=False)
        except Exception as error:  # a door: a model that is not made for it may fail in any way, and runs whole then
            self._tell(hook, error)
            return False
        return _is_equal(found, self.last(tokens[[1, 0, 0]], edits, grad=False)[:, since:])

    @cached_property
    def behind(self) -> Callable[[Tensor], Tensor] | None:
        """What the model does with the numbers that its unembedding gives, tried on a few tokens; None where it is
        something that is not known here."""
        if self.hf.get_output_embeddings() is None:
            return None
        tokens = torch.arange(min(4, self.n_vocab))[None]
        config = self.hf.config.get_text_config()
        scale = self.family.logit_scale(config) if self.family else 1.0
        cap = getattr(config, "final_logit_softcapping", None)
        with torch.no_grad():
            logits, end = self._passed(tokens, {}, [])[0].logits, self._end
            given = self.hf.get_output_embeddings()(self._passed(tokens, {}, [end], stops=True)[0].values[end])
        kinds: list[Callable[[Tensor], Tensor]] = [lambda x: x, lambda x: scale * x]
        if cap:
            kinds.append(lambda x: cap * torch.tanh(scale * x / cap))
        return next((kind for kind in kinds if torch.allclose(kind(given), logits, rtol=1e-4, atol=1e-4)), None)

    def _unreached(self, missed: Sequence[str]) -> UserError:
        return UserError(
            f"The forward pass of {self.name} never reaches {', '.join(missed)}.",
            "a module that runs in every forward pass",
            "choose another module path.",
        )

    def _forward(self, tokens: Tensor, cache: DynamicCache | None = None, before: int = 0) -> Tensor:
        """Logits of tokens that follow `before` others, keys and values of which are in the cache."""
        check_ids(tokens, self.n_vocab)
        # All ones: every token is read, padding too, which stands last and so is seen by no other.
        masks = {"attention_mask": tokens.new_ones(len(tokens), before + tokens.shape[1])} if self._takes_mask else {}
        caches = {} if cache is None else {"past_key_values": cache}
        return self.hf(input_ids=tokens, use_cache=cache is not None, **caches, **masks).logits

    @cached_property
    def _takes_mask(self) -> bool:
        return "attention_mask" in inspect.signature(self.hf.forward).parameters


class _TakenUp(NamedTuple):
    """How a model can be taken up at a hook."""

    depth: bool
    """Modules that had finished need not run again."""

    position: bool
    """Nor do tokens before the first that is changed."""

    by_token: frozenset[str] | None = None
    """The modules that give something of each token; None where that is being found out."""


def _is_equal(found: Tensor, expected: Tensor) -> bool:
    """Whether they differ by no more than rounding does on its way through a model."""
    bound = min(0.03, 32 * torch.finfo(found.dtype).eps ** 0.75)
    return bool((found.float() - expected.float()).norm() <= bound * expected.float().norm())


def _changes_with_length(config: Any) -> bool:
    """Whether rotary positions are others in a longer text, so that keys kept of a shorter one are not its."""
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    every = [rope, *(part for part in rope.values() if isinstance(part, dict))]
    kinds = {part.get("rope_type", part.get("type")) for part in every}
    return bool(kinds & {"longrope", "dynamic", "su"})


def _behind(left: int, edit: Edit) -> Edit:
    """The edit, made at positions from `left` on."""
    return edit if not left else lambda x: torch.cat([x[:, :left], edit(x[:, left:])], dim=1)


def _cache(past: Past | None) -> DynamicCache:
    """What transformers keeps keys and values in, all of them in every layer: a window is the mask's affair."""
    cache = DynamicCache()
    for keys, values in past.layers if past else ():
        layer = DynamicLayer()
        layer.lazy_initialization(keys, values)
        layer.keys, layer.values = keys, values
        cache.layers.append(layer)
    return cache


def _past(cache: DynamicCache, n_layers: int) -> Past | None:
    """Keys and values of every layer; None of a model that keeps something else."""
    if len(cache.layers) != n_layers or not all(type(layer) is DynamicLayer for layer in cache.layers):
        return None
    found = tuple((layer.keys, layer.values) for layer in cache.layers)
    return Past(found) if all(keys is not None and keys.ndim == 4 for keys, _ in found) else None
