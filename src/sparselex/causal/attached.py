"""A dictionary attached to a Hugging Face model: whatever calls the model, its own `generate` too, the latents of every
token are read, and edits of them are made."""

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sparselex.base.errors import UserError, a
from sparselex.base.sites import Hook
from sparselex.causal.edits import bound
from sparselex.causal.kinds import Edit
from sparselex.causal.latents import Latents
from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.lm.hookpoints import Location, check_editable, family_of, locate, of_head
from sparselex.lm.hooks import Act, hooked, turn_of, value_in, with_value


class Call(NamedTuple):
    """What one call of the model read."""

    start: int
    """Position of its first token: those before it are in the call's cache."""

    padded: tuple[int, ...]
    """Tokens of each row that are padding in front of the text."""

    shape: tuple[int, int]
    """Rows and tokens."""

    codes: Codes
    """The latents of these tokens, row after row, before any edit."""

    def activations(self, latent: int) -> Float[Tensor, "batch ctx"]:
        """One latent's activations."""
        wanted = self.codes.indices == latent
        flat = self.codes.values.new_zeros(len(self.codes))
        flat[self.codes.rows[wanted]] = self.codes.values[wanted]
        return flat.view(self.shape)


class Attached:
    """What was seen while a dictionary was attached."""

    def __init__(self, latents: Latents, edits: Sequence[Edit]):
        """`latents` are read before `edits` are made."""
        self.latents, self.edits = latents, list(edits)
        self.calls: list[Call] = []
        """Each call of the model, in order."""
        self.has_moved = False
        """Whether rows of the last text were given other places between its calls, as beams are."""

    def activations(self, latent: int) -> Float[Tensor, "batch ctx"]:
        """One latent's activations at every token since the last call that began a text: the prompt and what was
        generated, but for the last token, which nothing read. What a later call reads again, as speculative decoding
        does with tokens that it rejects, takes the place of what was read before.

        Raises `UserError` before any call, for a latent that does not exist, where the text began in a cache that was
        made before, and where rows did not stay the same: in beam search they change places, and what is written may
        have been in none of them at the end.
        """
        self.latents.checked(latent)
        begins = [number for number, call in enumerate(self.calls) if call.start == 0]
        if not begins:
            raise UserError(
                "The model was not called with a text from its beginning.",
                "a call without a cache that was made before",
                "call the model while the dictionary is attached, or read `calls`.",
            )
        if self.has_moved:
            raise UserError(
                "Rows changed places between the calls of one text, as beams do.",
                "rows that stay, as without beams (num_beams=1)",
                "call the model on the text that was written while the dictionary is attached, and ask again; or read "
                "`calls` one by one.",
            )
        since = self.calls[begins[-1] :]
        if len({call.shape[0] for call in since}) > 1:
            raise UserError(
                "Calls of one text had different numbers of rows.", "the same rows in each", "read `calls` one by one."
            )
        found = since[0].activations(latent)
        for call in since[1:]:
            found = torch.cat([found[:, : call.start], call.activations(latent)], dim=1)
        return found


@contextlib.contextmanager
def attach(model: Any, dictionary: Dictionary, hook: str, *, edits: Sequence[Edit] = ()) -> Iterator[Attached]:
    """While this is open, a Hugging Face causal language model is read by `dictionary` at `hook`, and edits are made in
    each of its calls. The model itself is not changed; one thread at a time may call it.

    Edits of the hooks named at the start may be exchanged on the way: what `watched.edits` holds is made in the next
    call. Positions count from the first token of a text, behind padding in front of it that the attention mask names.
    Of beam search each beam is a row: an edit serves all, or has an entry for each beam of each row.
    Raises `UserError` for a hook that the model has not, for a dictionary of another width, and in a thread that calls
    the model while another does.
    """
    place = Hook(hook)
    config = getattr(model, "config", None)
    if config is None or not hasattr(config, "get_text_config"):
        raise UserError(
            f"A dictionary was to be attached to {a(type(model).__name__)}.",
            "a causal language model of transformers",
            "for a model of `sparselex.load_model` attach to its `.hf`, or use `run` and `generate` with edits.",
        )
    hooks = list(dict.fromkeys([place, *(Hook(edit.hook) for edit in edits)]))
    locations = {at: _located(at, model) for at in hooks}
    family = family_of(model)
    for edit in edits:
        check_editable(Hook(edit.hook), family)
    watched = Attached(Latents(dictionary, (place,), {place: slice(0, dictionary.d_out)}), edits)
    n_ctx = getattr(config.get_text_config(), "max_position_embeddings", None) or 1 << 30
    caller: int | None = None
    start, shape, padded = 0, (0, 0), torch.zeros(0, dtype=torch.long)

    def begin(_: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        nonlocal start, shape, padded, caller
        if caller not in (None, threading.get_ident()):
            raise UserError(
                "Two threads called a model to which a dictionary is attached.",
                "one call at a time: values and edits are those of the whole model",
                "let one thread call it, or guard the calls by a lock.",
            )
        caller = threading.get_ident()
        given = [args[0] if args else None, kwargs.get("input_ids"), kwargs.get("inputs_embeds")]
        tokens = next((one for one in given if one is not None), None)
        if tokens is None:
            return  # the model says itself what it is to be called with
        shape, before = (tokens.shape[0], tokens.shape[1]), start + shape[1]
        start = _n_before(kwargs, before)
        mask = kwargs.get("attention_mask")
        if start == 0 or len(padded) != shape[0] or _names_all(mask, start + shape[1]):
            padded = _n_padded(mask, shape[0])
        if start == 0:
            watched.has_moved = False
        note_moves(kwargs.get("past_key_values", kwargs.get("cache_params")))

    def end(*_: Any) -> None:
        nonlocal caller
        if caller == threading.get_ident():
            caller = None

    def note_moves(cache: Any) -> None:
        """Beam search tells its cache alone that rows change places."""
        if not hasattr(cache, "reorder_cache") or "reorder_cache" in vars(cache):
            return
        before = cache.reorder_cache

        def moved(order: Tensor) -> None:
            watched.has_moved = True
            before(order)

        cache.reorder_cache = moved
        stack.callback(vars(cache).pop, "reorder_cache", None)

    def read(tensor: Tensor) -> None:
        values = value_in(locations[place], tensor, shape).detach().float()
        dictionary.check_width(values.shape[-1], str(place))
        with torch.no_grad():
            codes = dictionary.encode_sparse(values.flatten(0, 1))
        watched.calls.append(Call(start, tuple(padded.tolist()), shape, codes))

    def change(at: Hook, tensor: Tensor) -> Tensor | None:
        here = [edit for edit in watched.edits if edit.hook == at]
        if not here:
            return None
        check_editable(at, family)
        value = value_in(locations[at], tensor.clone() if locations[at].in_place else tensor, shape)
        return with_value(locations[at], tensor, bound(here, start - padded, until=n_ctx)[at](value), shape)

    acts: list[tuple[tuple[int, bool], Hook, Act]]
    acts = [(turn_of(place, is_read=False), place, read)]  # its value before any edit there
    acts += [(turn_of(at, is_read=True), at, partial(change, at)) for at in hooks]
    with contextlib.ExitStack() as stack:
        stack.callback(model.register_forward_pre_hook(begin, with_kwargs=True).remove)
        stack.callback(model.register_forward_hook(end, always_call=True).remove)
        for _, at, act in sorted(acts, key=lambda one: one[0]):
            stack.enter_context(hooked(model, locations[at], act))
        yield watched


def _n_before(kwargs: dict[str, Any], counted: int) -> int:
    """Tokens that are in a call's cache; `counted` are those seen so far, for caches that do not say."""
    if (past := kwargs.get("past_key_values")) is not None:
        return int(past.get_seq_length())  # a number: of some caches it is a tensor that grows during the pass
    position = kwargs.get("cache_position")
    if kwargs.get("cache_params") is None or (position is not None and int(position[0]) == 0):
        return 0
    return counted


def _names_all(mask: Any, n_tokens: int) -> bool:
    """Whether a mask is of these tokens of each row, those in the call's cache too: a call may go on from any cache."""
    return isinstance(mask, Tensor) and mask.ndim == 2 and mask.shape[1] == n_tokens


def _n_padded(mask: Any, n_rows: int) -> Tensor:
    """Tokens of each row in front of the first that the attention mask names.

    A cache of fixed size has masks of queries and keys made before the call, `[batch, heads, ctx, n_keys]`, and several
    by name where layers differ: a token that does not see itself is padding. Raises `UserError` for any other mask.
    """
    if isinstance(mask, Mapping):
        mask = next((one for one in mask.values() if one is not None), None)
    if mask is None:
        return torch.zeros(n_rows, dtype=torch.long)
    if not isinstance(mask, Tensor) or mask.ndim not in (2, 4):
        given = f"of shape {[*mask.shape]}" if isinstance(mask, Tensor) else type(mask).__name__
        raise UserError(
            f"An attention mask {given} was given to a model to which a dictionary is attached.",
            "a tensor [batch, ctx], or [batch, heads, ctx, n_keys]: by it positions are counted behind padding",
            "call the model with such a mask, or with another attention (attn_implementation='sdpa').",
        )
    if mask.ndim == 4:  # what is added to scores is 0 where something is seen
        seen = mask == 0 if mask.is_floating_point() else mask != 0
        mask = seen[:, 0].diagonal(dim1=-2, dim2=-1)
    return (mask.cumsum(-1) == 0).sum(-1).expand(n_rows).cpu()


def _located(hook: Hook, model: Any) -> Location:
    """Where a hook's value passes, of one head where one is meant."""
    config = model.config.get_text_config()
    family, n_layers = family_of(model), config.num_hidden_layers
    whole = locate(hook, model, family, n_layers)
    if hook.head is None:
        return whole
    d_head = _width(model, locate(Hook(f"blocks.{hook.layer}.attn.hook_q"), model, family, n_layers))
    d_head //= config.num_attention_heads
    n_heads = _width(model, whole) // d_head
    if hook.head >= n_heads:
        given = f"{str(hook)!r} has {n_heads} heads and none of number {hook.head}."
        raise UserError(given, f"a head from 0 to {n_heads - 1}", "choose another head.")
    return of_head(whole, hook.head, d_head)


@torch.no_grad()
def _width(model: Any, location: Location) -> int:
    """Width of a value: one token is run through the model to see."""
    found = list[int]()
    with hooked(model, location, lambda tensor: found.append(value_in(location, tensor, (1, 1)).shape[-1])):
        model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=model.device), use_cache=False)
    return found[0]
