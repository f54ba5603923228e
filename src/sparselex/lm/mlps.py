"""An MLP of a model as matrices: what it computes between the site that it reads and the one that it writes, and its
derivative there."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sparselex.base.errors import UserError
from sparselex.base.sites import Hook
from sparselex.lm.homes.transformers import TransformersModel
from sparselex.lm.subject import Readable

Activation = Callable[[Tensor], Tensor]
"""A function of each number by itself."""

READS, WRITES = "hook_mlp_in", "hook_mlp_out"
"""The sites of a block that lie around its MLP."""

_ACTIVATIONS = ("act_fn", "act", "activation_fn", "activation", "gelu_impl", "nonlinearity")
"""What families call the function between the matrices."""

_GATES = ("gate_proj", "w1")
"""What they call the matrix whose product goes through it, where another one's does not."""

_OFF = 1e-3
"""Share of the output's length by which the matrices may give another one than the model does."""


class Mlp(NamedTuple):
    """`y = φ(x W_in + b_in) W_out + b_out`; gated `y = (φ(x W_gate + b_gate) * (x W_in + b_in)) W_out + b_out`."""

    activation: Activation
    """φ."""

    W_in: Float[Tensor, "d_in d_mlp"]
    b_in: Float[Tensor, " d_mlp"]
    W_out: Float[Tensor, "d_mlp d_out"]
    b_out: Float[Tensor, " d_out"]
    gate: tuple[Float[Tensor, "d_in d_mlp"], Float[Tensor, " d_mlp"]] | None = None
    """`W_gate` and `b_gate`; None of an MLP that is not gated."""

    def to(self, like: Tensor) -> "Mlp":
        """The same in the precision and the place of a tensor."""
        gate = self.gate and (self.gate[0].to(like), self.gate[1].to(like))
        matrices = (self.W_in.to(like), self.b_in.to(like), self.W_out.to(like), self.b_out.to(like))
        return Mlp(self.activation, *matrices, gate)

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


@torch.no_grad()
def mlp_between(model: Readable, reads: Hook, writes: Hook) -> Mlp:
    """The MLP between `blocks.L.hook_mlp_in` and `blocks.L.hook_mlp_out` as matrices in float32, where they are.

    A few tokens are run through the model, and the matrices give what it gives. Raises `UserError` for other sites, for
    a model whose modules are not at hand, and for a block whose MLP is of another form: experts, a norm behind it.
    """
    around = (reads.site, writes.site) == (READS, WRITES) and reads.layer == writes.layer and reads.layer is not None
    if not around:
        raise UserError(
            f"Between {reads} and {writes} there is no single MLP.",
            f"blocks.L.{READS} and blocks.L.{WRITES} of one block L",
            "take a run that reads the one and a run that reads the other.",
        )
    if not isinstance(model, TransformersModel):
        raise UserError(
            f"The MLP of {model.name} is not at hand as matrices.",
            "a single model that transformers runs",
            "choose another model, or leave --engine out.",
        )
    found = next(_candidates(model, reads, writes), None)
    if found is None or _distance(model, found, reads, writes) > _OFF:
        raise UserError(
            f"What block {reads.layer} of {model.name} computes between {reads.site} and {writes.site} is no MLP of "
            "two matrices, nor a gated one of three.",
            "a dense MLP whose output is added to the stream as it is",
            "choose another model, or a layer that has no experts.",
        )
    return found


def _candidates(model: TransformersModel, reads: Hook, writes: Hook) -> Iterator[Mlp]:
    """The MLP that the names and shapes of modules beside the one that gives the output speak for."""
    behind = model.resolve(writes)
    down = model.hf.get_submodule(behind.path)
    out = _matrix(down)
    if out is None:
        return
    around = model.hf.get_submodule(behind.path.rpartition(".")[0])
    activation = next((getattr(around, name) for name in _ACTIVATIONS if hasattr(around, name)), None)
    d_mlp, width, scale = len(out[0]), model.width(reads), behind.scale
    others = {name: _matrix(one) for name, one in around.named_children() if one is not down}
    read = {name: pair for name, pair in others.items() if pair is not None and len(pair[0]) == width}
    if activation is None or not read:
        return
    W_out, b_out = out[0] * scale, out[1] * scale
    wide = [pair for pair in read.values() if pair[0].shape[1] == 2 * d_mlp]
    if len(wide) == 1:  # gate and the rest are one matrix
        (W_gate, W_in), (b_gate, b_in) = wide[0][0].chunk(2, dim=1), wide[0][1].chunk(2)
        yield Mlp(activation, W_in, b_in, W_out, b_out, (W_gate, b_gate))
        return
    fit = {name: pair for name, pair in read.items() if pair[0].shape[1] == d_mlp}
    gates = [name for name in fit if name in _GATES]
    if len(fit) == 1:
        ((W_in, b_in),) = fit.values()
        yield Mlp(activation, W_in, b_in, W_out, b_out)
    elif len(fit) == 2 and len(gates) == 1:
        gate = fit.pop(gates[0])
        ((W_in, b_in),) = fit.values()
        yield Mlp(activation, W_in, b_in, W_out, b_out, gate)


def _matrix(module: nn.Module) -> tuple[Tensor, Tensor] | None:
    """Weight `[d_in, d_out]` and bias of a linear layer in float32; None of anything else."""
    held: Any = module
    weight = getattr(held, "weight", None)
    if list(module.children()) or not isinstance(weight, Tensor) or weight.ndim != 2 or not weight.is_floating_point():
        return None
    rows = weight.float() if type(module).__name__ == "Conv1D" else weight.float().T
    bias = held.bias.float() if isinstance(getattr(held, "bias", None), Tensor) else rows.new_zeros(rows.shape[1])
    return rows.detach(), bias.detach()


def _distance(model: TransformersModel, found: Mlp, reads: Hook, writes: Hook) -> float:
    """How far what the matrices give lies from what the model gives, over some tokens, as a share of its length."""
    tokens = torch.arange(min(32, model.n_vocab, model.n_ctx), device=model.device)[None]
    values = model.read(tokens, [reads, writes])
    x, y = (values[hook].flatten(0, 1).float() for hook in (reads, writes))
    return float((found.of(x) - y).norm() / y.norm().clamp_min(torch.finfo(torch.float32).tiny))
