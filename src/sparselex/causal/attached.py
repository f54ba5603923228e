"""A dictionary attached to a Hugging Face model: whatever calls the model, its own `generate` too, the latents of every
token are read, and edits of them are made."""

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sparselex.base.errors import UserError
from sparselex.base.sites import Hook
from sparselex.causal.edits import Edit, bound
from sparselex.causal.latents import Latents
from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.lm.hookpoints import family_of, locate
from sparselex.lm.hooks import hooked, value_in, with_value


class Call(NamedTuple):
    """What one call of the model read."""

    start: int
    """Position of its first token: those before it are in the call's cache."""

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

    def activations(self, latent: int) -> Float[Tensor, "batch ctx"]:
        """One latent's activations at every token since the last call that began a text: the prompt and what was
        generated, but for the last token, which nothing read. Raises `UserError` before any call, and for a latent
        that does not exist."""
        self.latents.checked(latent)
        if not self.calls:
            raise UserError("The model was not called.", "a call while the dictionary is attached", "call the model.")
        begin = max(number for number, call in enumerate(self.calls) if call.start == 0)
        return torch.cat([call.activations(latent) for call in self.calls[begin:]], dim=1)


@contextlib.contextmanager
def attach(model: Any, dictionary: Dictionary, hook: str, *, edits: Sequence[Edit] = ()) -> Iterator[Attached]:
    """While this is open, a Hugging Face causal language model is read by `dictionary` at `hook`, and edits are made in
    each of its calls. The model itself is not changed.

    Edits of the hooks named at the start may be exchanged on the way: what `watched.edits` holds is made in the next
    call. Positions count from the first token of a text. Raises `UserError` for a hook that the model has not, and for
    a dictionary of another width.
    """
    place = Hook(hook)
    config = getattr(model, "config", None)
    if config is None or not hasattr(config, "get_text_config"):
        raise UserError(
            f"A dictionary was to be attached to a {type(model).__name__}.",
            "a causal language model of transformers",
            "for a model of `sparselex.load_model` attach to its `.hf`, or use `run` and `generate` with edits.",
        )
    family, n_layers = family_of(model), config.get_text_config().num_hidden_layers
    hooks = list(dict.fromkeys([place, *(Hook(edit.hook) for edit in edits)]))
    locations = {at: locate(at, model, family, n_layers) for at in hooks}
    watched = Attached(Latents(dictionary, (place,), {place: slice(0, dictionary.d_out)}), edits)
    start, shape = 0, (0, 0)

    def begin(_: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        nonlocal start, shape
        given = [args[0] if args else None, kwargs.get("input_ids"), kwargs.get("inputs_embeds")]
        tokens = next(one for one in given if one is not None)
        past = kwargs.get("past_key_values")
        start, shape = (0 if past is None else past.get_seq_length()), (tokens.shape[0], tokens.shape[1])

    def read(tensor: Tensor) -> None:
        values = value_in(locations[place], tensor, shape).detach().float()
        dictionary.check_width(values.shape[-1], str(place))
        with torch.no_grad():
            watched.calls.append(Call(start, shape, dictionary.encode_sparse(values.flatten(0, 1))))

    def change(at: Hook, tensor: Tensor) -> Tensor | None:
        here = [edit for edit in watched.edits if edit.hook == at]
        if not here:
            return None
        value = value_in(locations[at], tensor.clone() if locations[at].in_place else tensor, shape)
        return with_value(locations[at], tensor, bound(here, start)[at](value), shape)

    with contextlib.ExitStack() as stack:
        stack.callback(model.register_forward_pre_hook(begin, with_kwargs=True).remove)
        stack.enter_context(hooked(model, locations[place], read))
        for at in hooks:
            stack.enter_context(hooked(model, locations[at], partial(change, at)))
        yield watched
