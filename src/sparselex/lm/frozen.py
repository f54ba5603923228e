"""A model with its attention patterns and the scales of its norms held as they were in one pass: between its MLPs it is
then a linear map (Ameisen et al. 2025, Circuit Tracing, section on the local replacement model)."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sparselex.base.errors import UserError
from sparselex.base.sites import Hook
from sparselex.lm.homes.transformers import TransformersModel
from sparselex.lm.norms import Linear, linear
from sparselex.lm.subject import Edit, SubjectModel


class _Scaled(NamedTuple):
    """A norm as it was in the pass."""

    linear: Linear
    scales: Float[Tensor, "ctx 1"]
    bias: Float[Tensor, " width"]

    def of(self, x: Tensor) -> Tensor:
        """What it would give of other values at the same tokens, its scales being what they are."""
        centred = x - x.mean(-1, keepdim=True) if self.linear.centres else x
        weighed = (centred * self.linear.weight.to(x)).reshape(
            -1, *self.scales.shape[:1], x.shape[-1]
        )  # OPT's are flat
        return (weighed * self.scales.to(x)).reshape(x.shape) + self.bias.to(x)


class Frozen:
    """Attention patterns and norm scales of one pass over one row of tokens."""

    def __init__(self, model: TransformersModel, attention: Mapping[Hook, Tensor], norms: Mapping[str, _Scaled]):
        self._model, self._attention, self._norms = model, attention, norms

    @property
    def edits(self) -> dict[str, Edit]:
        """Edits that put queries and keys back, in every row of a batch: attention looks where it looked."""

        def held(values: Tensor) -> Edit:
            return lambda x: values.to(x).expand_as(x)

        return {hook: held(values) for hook, values in self._attention.items()}

    @contextlib.contextmanager
    def norms(self) -> Iterator[None]:
        """While this is open, every norm multiplies each token by what it multiplied it by in the pass."""
        with contextlib.ExitStack() as stack:
            for path, norm in self._norms.items():

                def held(module: nn.Module, args: tuple, kwargs: dict, output: Any, norm: _Scaled = norm) -> Tensor:
                    return norm.of(args[0] if args else next(iter(kwargs.values())))

                handle = self._model.hf.get_submodule(path).register_forward_hook(held, with_kwargs=True)
                stack.callback(handle.remove)
            yield


@torch.no_grad()
def freeze(model: SubjectModel, tokens: Int[Tensor, "1 ctx"]) -> Frozen:
    """The patterns and scales of a pass over one row of tokens.

    Norms are told by what they hold, vectors as wide as the stream and nothing else. Raises `UserError` for a model
    whose modules are not at hand, or whose attention has no queries and keys by these names.
    """
    hooks = [Hook(f"blocks.{layer}.attn.hook_{letter}") for layer in range(model.n_layers) for letter in "qk"]
    if not isinstance(model, TransformersModel) or not set(hooks) <= set(model.names):
        raise UserError(
            f"The attention of {model.name} cannot be held as it is.",
            "a model run by transformers whose every block has hook_q and hook_k",
            "choose another model: `sparselex hooks MODEL` lists what one has.",
        )
    seen = dict[str, tuple[Tensor, Tensor]]()
    with contextlib.ExitStack() as stack:
        for path, module in model.hf.named_modules():
            if _is_norm(module, model.d_model):

                def note(module: nn.Module, args: tuple, kwargs: dict, output: Any, path: str = path) -> None:
                    seen[path] = (args[0] if args else next(iter(kwargs.values()))), output

                stack.callback(module.register_forward_hook(note, with_kwargs=True).remove)
        attention = model.run(tokens, read=hooks, logits=True).values
    n = tokens.shape[1] * model.d_model
    norms = {path: _scaled(model.hf.get_submodule(path), *both) for path, both in seen.items() if both[0].numel() == n}
    return Frozen(model, {hook: attention[hook].clone() for hook in hooks}, norms)


def _is_norm(module: nn.Module, width: int) -> bool:
    """Whether a module has weights for single coordinates of the stream alone."""
    held = list(module.parameters(recurse=False))
    return not list(module.children()) and bool(held) and all(tuple(one.shape) == (width,) for one in held)


def _scaled(module: nn.Module, x: Tensor, y: Tensor) -> _Scaled:
    """A norm as it was where it made `y` of `x`, each of one row of tokens."""
    width = x.shape[-1]
    found, bias = linear(module, width), module(torch.zeros_like(x))[..., :1, :].reshape(-1)[:width]
    ahead = found.after(x.reshape(-1, width).float())
    size = ahead.square().sum(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    scales = ((y - bias).reshape(-1, width).float() * ahead).sum(-1, keepdim=True) / size
    return _Scaled(found, scales, bias)
