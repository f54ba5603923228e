"""The MLP of one block: its matrices, each with the place in the model where what it gives can be replaced, and what
they compute together as a formula that has a derivative."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sparselex.base.errors import UserError
from sparselex.base.formats import percent
from sparselex.base.sites import Hook
from sparselex.lm.homes.transformers import TransformersModel
from sparselex.lm.subject import Readable

Activation = Callable[[Tensor], Tensor]
"""A function of each number by itself."""

READS, HIDDEN, WRITES = "hook_mlp_in", "mlp.hook_post", "hook_mlp_out"
"""The sites of a block around its MLP and between its matrices."""

_ACTIVATIONS = ("act_fn", "act", "activation_fn", "activation", "gelu_impl", "nonlinearity")
"""What families call the function between the matrices."""

_GATES = ("gate_proj", "w1")
"""What they call the matrix whose product goes through it, where another one's does not."""

_OFF = 1e-3
"""Share of the output's length by which the formula may give another one than the model does."""


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

    @property
    def offset(self) -> Float[Tensor, " d_out"]:
        """The bias, 0 where there is none."""
        return self.weight.new_zeros(len(self.weight)) if self.bias is None else self.bias


class Formula(NamedTuple):
    """`y = φ(x W_in + b_in) W_out + b_out`; gated `y = (φ(x W_gate + b_gate) * (x W_in + b_in)) W_out + b_out`."""

    activation: Activation
    """φ."""

    W_in: Float[Tensor, "d_in d_mlp"]
    b_in: Float[Tensor, " d_mlp"]
    W_out: Float[Tensor, "d_mlp d_out"]
    b_out: Float[Tensor, " d_out"]
    gate: tuple[Float[Tensor, "d_in d_mlp"], Float[Tensor, " d_mlp"]] | None = None
    """`W_gate` and `b_gate`; None of an MLP that is not gated."""

    def to(self, like: Tensor) -> "Formula":
        """The same in the precision and the place of a tensor."""
        gate = self.gate and (self.gate[0].to(like), self.gate[1].to(like))
        matrices = (self.W_in.to(like), self.b_in.to(like), self.W_out.to(like), self.b_out.to(like))
        return Formula(self.activation, *matrices, gate)

    def of(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_out"]:
        """What it gives."""
        straight = x @ self.W_in + self.b_in
        if self.gate is None:
            return self.activation(straight) @ self.W_out + self.b_out
        return (self.activation(x @ self.gate[0] + self.gate[1]) * straight) @ self.W_out + self.b_out

    @property
    def readers(self) -> tuple[Float[Tensor, "d_in d_mlp"], ...]:
        """Matrices by which it reads: `W_in`, and `W_gate` where there is one."""
        return (self.W_in,) if self.gate is None else (self.W_in, self.gate[0])

    def slopes(self, x: Float[Tensor, "n d_in"]) -> tuple[Float[Tensor, "n d_mlp"], ...]:
        """For each of `readers` what its product is multiplied by on the way to `W_out` when `x` moves a little: the
        derivative at `x` is `Σ_r W_r diag(slope_r) W_out`. Gradients flow back to `x`."""
        straight = x @ self.W_in + self.b_in
        if self.gate is None:
            return (derivative(self.activation, straight),)
        gate = x @ self.gate[0] + self.gate[1]
        return self.activation(gate), derivative(self.activation, gate) * straight


def derivative(activation: Activation, x: Tensor) -> Tensor:
    """The derivative of a function of each number by itself, with gradients to `x` where that has them."""
    learns = torch.is_grad_enabled() and x.requires_grad
    with torch.enable_grad():
        there = x if learns else x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(activation(there).sum(), there, create_graph=learns)
    return slope


class Mlp(NamedTuple):
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


def mlp_of(model: Readable, layer: int) -> Mlp:
    """The MLP of block `layer`. Raises `UserError` for a model that another library runs, for a block that there is
    not, and for one whose MLP is not made of linear maps around one hidden layer (experts, for one)."""
    hf_model = _at_hand(model)
    if not 0 <= layer < model.n_layers:
        raise UserError(
            f"{model.name} has no block {layer}.",
            f"a block from 0 to {model.n_layers - 1}" if model.n_layers > 1 else "block 0, the only one",
            "choose another --layer.",
        )
    read, hidden, out = (Hook(f"blocks.{layer}.{site}") for site in (READS, HIDDEN, WRITES))
    missing = [hook for hook in (read, hidden, out) if hook not in hf_model.names]
    if missing:
        raise _unfit(model, layer, f"it has no {missing[0].site}")
    path = hf_model.resolve(hidden).path
    last = _matrix(hf_model.hf, path)
    first = tuple(_linear_inside(hf_model, hf_model.resolve(read).path, path))
    if last is None or not first:
        raise _unfit(
            model, layer, f"{path} is no linear map" if last is None else "no linear map in it reads that site"
        )
    at = hf_model.resolve(out)
    is_out = at.path == path and at.side == "output" and at.scale == 1 and at.piece is None
    return Mlp(read, first, hidden, last, out if is_out else last.hook)


@torch.no_grad()
def formula_between(model: Readable, reads: Hook, writes: Hook) -> Formula:
    """What the MLP between `blocks.L.hook_mlp_in` and `blocks.L.hook_mlp_out` computes, on the CPU.

    A few tokens are run through the model, and the formula gives what it gives. Raises `UserError` for other sites,
    like `mlp_of`, and for an MLP that computes something else with its matrices: a norm between or behind them.
    """
    layer = reads.layer
    if (reads.site, writes.site) != (READS, WRITES) or layer is None or layer != writes.layer:
        raise UserError(
            f"Between {reads} and {writes} there is no single MLP.",
            f"blocks.L.{READS} and blocks.L.{WRITES} of one block L",
            "take a run that reads the one and a run that reads the other.",
        )
    hf_model = _at_hand(model)
    found = _formula(hf_model, mlp_of(model, layer), hf_model.resolve(writes).scale)
    if found is None:
        raise _unfit(model, layer, "which of its matrices is the gate, or what stands between them, is not known")
    if (off := _distance(hf_model, found, reads, writes)) > _OFF:
        raise _unfit(model, layer, f"what its matrices give is {percent(off)} off what the model gives")
    return found


def _at_hand(model: Readable) -> TransformersModel:
    if isinstance(model, TransformersModel):
        return model
    raise UserError(
        f"The MLP of {model.name} is not at hand as matrices: another library runs it, or there are two models.",
        "one model that transformers runs",
        "name a run of one model, begun without --engine.",
    )


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


def _formula(model: TransformersModel, mlp: Mlp, scale: float) -> Formula | None:
    """The formula that the names and shapes of an MLP's matrices speak for; None where they speak for none."""
    around = model.hf.get_submodule(mlp.last.hook.site.rpartition(".")[0])
    activation = next((getattr(around, name) for name in _ACTIVATIONS if hasattr(around, name)), None)
    if activation is None:
        return None
    d_mlp, behind = mlp.last.weight.shape[1], (mlp.last.weight.T * scale, mlp.last.offset * scale)
    readers = {one.name: (one.weight.T, one.offset) for one in mlp.first}
    wide = [one for one in readers.values() if len(one[1]) == 2 * d_mlp]
    if len(wide) == len(readers) == 1:  # gate and the rest are one matrix
        (W_gate, W_in), (b_gate, b_in) = wide[0][0].chunk(2, dim=1), wide[0][1].chunk(2)
        return Formula(activation, W_in, b_in, *behind, (W_gate, b_gate))
    gate = next((readers.pop(name) for name in _GATES if name in readers), None)
    if len(readers) != 1 or any(len(one[1]) != d_mlp for one in (*readers.values(), gate) if one):
        return None
    return Formula(activation, *next(iter(readers.values())), *behind, gate)


def _distance(model: TransformersModel, found: Formula, reads: Hook, writes: Hook) -> float:
    """How far what the formula gives lies from what the model gives, over some tokens, as a share of its length."""
    tokens = torch.arange(min(32, model.n_vocab, model.n_ctx), device=model.device)[None]
    values = model.read(tokens, [reads, writes])
    x, y = (values[hook].flatten(0, 1).to(found.W_in) for hook in (reads, writes))
    return float((found.of(x) - y).norm() / y.norm().clamp_min(torch.finfo(torch.float32).tiny))


def _unfit(model: Readable, layer: int, why: str) -> UserError:
    return UserError(
        f"The MLP of block {layer} of {model.name} is no MLP of two matrices, nor a gated one of three: {why}.",
        "linear maps around one hidden layer, in an architecture that has canonical hooks here",
        "choose another block or model; `sparselex hooks MODEL` lists what a model has.",
    )
