"""The matrices of one block's MLP, each with the place where what it gives can be replaced."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sparselex.base.errors import UserError
from sparselex.base.sites import Hook
from sparselex.lm.homes.transformers import TransformersModel
from sparselex.lm.subject import Readable


class Matrix(NamedTuple):
    """A linear map inside a model."""

    name: str
    """The last word of its path in the model."""

    hook: Hook
    """What it gives."""

    weight: Float[Tensor, "d_out d_in"]
    """The matrix, in float32 at least and on the CPU, as is its bias."""

    bias: Float[Tensor, " d_out"] | None
    """What is added to its product, if anything."""


class MlpMatrices(NamedTuple):
    """The matrices of an MLP: those that read the stream, one or with a gate two, and the one that writes to it."""

    read: Hook
    """What the first of them read."""

    first: tuple[Matrix, ...]
    """Those that read the stream, behind its norm."""

    hidden: Hook
    """What the last one reads."""

    last: Matrix
    """The one that writes."""

    written: Hook
    """What the last one gives, by the name under which it is known to join the stream where it has one."""

    @property
    def every(self) -> tuple[Matrix, ...]:
        """All of them, in the order in which they are read."""
        return (*self.first, self.last)


def mlp_matrices(model: Readable, layer: int) -> MlpMatrices:
    """The matrices of the MLP of block `layer`. Raises `UserError` for a model that another library runs, for a block
    that there is not, and for one whose MLP is not made of linear maps around one hidden layer (experts, for one)."""
    if not isinstance(model, TransformersModel):
        raise UserError(
            f"The weights of {model.name} cannot be taken apart: another library runs it, or there are two models.",
            "one model that transformers runs",
            "name a run of one model, begun without --engine.",
        )
    if not 0 <= layer < model.n_layers:
        raise UserError(
            f"{model.name} has no block {layer}.",
            f"a block from 0 to {model.n_layers - 1}" if model.n_layers > 1 else "block 0, the only one",
            "choose another --layer.",
        )
    names = {site: Hook(f"blocks.{layer}.{site}") for site in ("hook_mlp_in", "mlp.hook_post", "hook_mlp_out")}
    missing = [hook for hook in names.values() if hook not in model.names]
    if missing:
        raise _unfit(model, layer, f"it has no {missing[0].site}")
    read, hidden, out = names.values()
    path = model.resolve(hidden).path
    last = _matrix(model.hf, path)
    first = tuple(_linear_inside(model, model.resolve(read).path, path))
    if last is None or not first:
        raise _unfit(
            model, layer, f"{path} is no linear map" if last is None else "no linear map in it reads that site"
        )
    at = model.resolve(out)
    is_out = at.path == path and at.side == "output" and at.scale == 1 and at.piece is None
    return MlpMatrices(read, first, hidden, last, out if is_out else last.hook)


def _linear_inside(model: TransformersModel, root: str, last: str) -> list[Matrix]:
    """The linear maps in the MLP but for the last, as wide as the stream at their input."""
    paths = [f"{root}.{name}".rstrip(".") for name, _ in model.hf.get_submodule(root).named_modules()]
    found = (_matrix(model.hf, path) for path in paths if path != last)
    return [one for one in found if one is not None and one.weight.shape[1] == model.d_model]


def _matrix(hf: Any, path: str) -> Matrix | None:
    """A module as a matrix; None where it is something else. GPT-2's class keeps it turned."""
    module = hf.get_submodule(path)
    turned = type(module).__name__ == "Conv1D"
    if not (turned or isinstance(module, nn.Linear)):
        return None
    weight = full(module.weight.detach()).cpu()
    bias = None if module.bias is None else full(module.bias.detach()).cpu()
    return Matrix(path.rpartition(".")[2], Hook(f"module:{path}"), weight.T.contiguous() if turned else weight, bias)


def full(values: Tensor) -> Tensor:
    """The same in float32 at least."""
    return values if values.dtype == torch.float64 else values.float()


def _unfit(model: TransformersModel, layer: int, why: str) -> UserError:
    return UserError(
        f"The MLP of block {layer} of {model.name} cannot be taken apart: {why}.",
        "linear maps around one hidden layer, in an architecture that has canonical hooks here",
        "choose another block or model; `sparselex hooks MODEL` lists what a model has.",
    )
