"""Adam whose passes over the large matrices are one kernel each, where there is one."""

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.optim.adam import adam

from sparselex.dictionaries.sparse.products import kernels_for
from sparselex.dictionaries.trainable import TrainableDictionary
from sparselex.training.decoder import normalise, project_out


class Adam(torch.optim.Adam):
    """`torch.optim.Adam` in its fused form, with clipping and unit rows as part of the step.

    On a GPU with Triton a float32 matrix is read and written once for all of that; elsewhere the same is done pass by
    pass. The state is that of `torch.optim.Adam`, under the same names.

    Args:
        params: parameters or groups, as there. The matrices of a group with `unit_rows` are kept at rows of unit norm:
            gradients lose their part along each row, and every step ends by bringing rows back.
        lr, betas, eps: as there; a group may have its own `lr`.
    """

    def __init__(
        self, params: Iterable[Any], *, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ):
        super().__init__(params, fused=True, lr=lr, betas=betas, eps=eps)
        self._n_steps = dict[Tensor, int]()
        """Numbers held by the step counters of the state, to be known without asking the GPU."""

    @torch.no_grad()
    def gradient_norm(self) -> Tensor:
        """Norm of all gradients together, on their device."""
        parameters = [p for group in self.param_groups for p in group["params"]]
        return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])

    @torch.no_grad()
    def clipped_step(self, norm: Tensor, largest: float) -> None:
        """One step with gradients of this total `norm` scaled down to `largest`. Gradients are used up: clear them
        before the next."""
        factor = (largest / (norm + 1e-6)).clamp(max=1.0)  # as torch's clip_grad_norm_
        for group in self.param_groups:
            found = [(parameter, parameter.grad) for parameter in group["params"] if parameter.grad is not None]
            rest = [pair for pair in found if not self._step_by_kernel(*pair, group, factor)]
            self._step_by_passes(rest, group, factor)

    @torch.no_grad()
    def forget(self, parameter: Tensor, dim: int, places: Int[Tensor, " n"]) -> None:
        """Set the moments of some of a parameter's rows (or of what lies along `dim`) back to 0."""
        if parameter in self.state:
            for moment in ("exp_avg", "exp_avg_sq"):
                self.state[parameter][moment].index_fill_(dim, places, 0)

    def _state_of(self, parameter: Tensor) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            state |= {moment: torch.zeros_like(parameter) for moment in ("exp_avg", "exp_avg_sq")}
        return state

    def _step_by_passes(self, found: list[tuple[Tensor, Tensor]], group: dict[str, Any], factor: Tensor) -> None:
        """Projection, torch's fused step, and norms, one after another."""
        units = [parameter for parameter, _ in found] if group.get("unit_rows") else []
        for matrix in units:
            project_out(matrix)
        states = [self._state_of(parameter) for parameter, _ in found]
        as_rows = [
            [_by_rows(parameter, tensor) for tensor in (parameter, grad, *_moments(state))]
            for (parameter, grad), state in zip(found, states, strict=True)
        ]
        _fused_step(as_rows, [state["step"] for state in states], group, factor)
        for matrix in units:
            normalise(matrix)

    def _step_by_kernel(self, parameter: Tensor, grad: Tensor, group: dict[str, Any], factor: Tensor) -> bool:
        """Take the step of this parameter if it is a matrix the kernel reads; whether it was."""
        kernels = kernels_for(parameter) if parameter.ndim == 2 else None
        rows, unit = _by_rows(parameter, parameter), bool(group.get("unit_rows"))
        if kernels is None or not rows.is_contiguous() or rows.shape[1] > kernels.WIDEST:
            return False
        if unit and rows is not parameter:  # its rows lie there as columns
            return False
        state = self._state_of(parameter)
        grad, *moments = (_by_rows(parameter, tensor) for tensor in (grad, *_moments(state)))
        step, rate = self._count(state["step"]), float(group["lr"])
        options = {"betas": group["betas"], "eps": group["eps"], "factor": factor, "project": unit, "normalise": unit}
        kernels.adam_rows(rows, grad.contiguous(), *moments, step=step, lr=rate, **options)
        return True

    def _count(self, counter: Tensor) -> int:
        """Add one to a step counter of the state, and return what it holds then."""
        if counter not in self._n_steps:
            self._n_steps[counter] = int(counter)
        self._n_steps[counter] += 1
        counter += 1
        return self._n_steps[counter]


def groups_of(dictionary: TrainableDictionary) -> list[dict[str, Any]]:
    """Parameters by their learning rate relative to the others', and by whether they are kept at unit rows (`W_dec`
    alone, the first of all)."""
    groups: dict[tuple[float, bool], list[Tensor]] = {}
    for name, parameter in dictionary.named_parameters():
        is_unit = name == "W_dec" and dictionary.unit_decoder
        groups.setdefault((dictionary.lr_factors.get(name, 1.0), not is_unit), []).append(parameter)
    return [
        {"params": groups[factor, is_free], "factor": factor, "unit_rows": not is_free}
        for factor, is_free in sorted(groups)
    ]


def _moments(state: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    return state["exp_avg"], state["exp_avg_sq"]


def _fused_step(rows: list[list[Tensor]], steps: list[Tensor], group: dict[str, Any], factor: Tensor) -> None:
    """Torch's fused step; a row is a parameter, its gradient and its two moments."""
    parameters, grads, means, squares = ([row[part] for row in rows] for part in range(4))
    beta1, beta2 = group["betas"]
    options = {"beta1": beta1, "beta2": beta2, "lr": group["lr"], "weight_decay": 0.0, "eps": group["eps"]}
    # The fused step divides each gradient while it reads it: scaling them beforehand would be one more pass over all.
    scale, no_fault = factor.reciprocal().float(), torch.zeros_like(factor, dtype=torch.float32)
    options |= {"fused": True, "amsgrad": False, "maximize": False, "grad_scale": scale, "found_inf": no_fault}
    adam(parameters, grads, means, squares, [], steps, **options)


def _by_rows(parameter: Tensor, tensor: Tensor) -> Tensor:
    """What belongs to `parameter`, turned if that lies in memory column by column, as `W_enc` does.

    Torch's fused step copies a matrix that it is given by columns, which takes longer than the step.
    """
    return tensor.T if parameter.ndim == 2 and not parameter.is_contiguous() else tensor
