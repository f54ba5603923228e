"""Adam whose passes over the large matrices are one kernel each, where there is one."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from sparselex.dictionaries.sparse import kernels_for
from sparselex.training.decoder import normalise, project_out


class Adam(torch.optim.Adam):
    """`torch.optim.Adam` in its fused form, with clipping and unit rows as part of the step.

    On a GPU with Triton a float32 matrix is read and written once for all of that; elsewhere the same is done pass by pass. The state is
    that of `torch.optim.Adam`, under the same names.

    Args:
        params: parameters or groups, as there.
        unit_rows: matrices whose gradients lose their part along each row and whose rows are brought back to unit norm.
        options: `lr`, `betas` and `eps`, as there.
    """

    def __init__(self, params: Iterable[Any], *, unit_rows: Iterable[Tensor] = (), **options: Any):
        super().__init__(params, fused=True, **options)
        self._unit_rows = {id(matrix) for matrix in unit_rows}
        self._n_steps = dict[Tensor, int]()
        """Numbers held by the step counters of the state, to be known without asking the GPU."""

    @torch.no_grad()
    def gradient_norm(self) -> Tensor:
        """Norm of all gradients together, on their device."""
        parameters = [p for group in self.param_groups for p in group["params"]]
        return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])

    @torch.no_grad()
    def clipped_step(self, norm: Tensor, largest: float) -> None:
        """One step with gradients of this total `norm` scaled down to `largest`. Gradients are used up: clear them before the next."""
        factor = (largest / (norm + 1e-6)).clamp(max=1.0)  # as torch's clip_grad_norm_
        done, units = {}, []
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if self._step_by_kernel(parameter, group, factor):
                    done[parameter], parameter.grad = parameter.grad, None  # torch's step passes over what has none
                    continue
                if id(parameter) in self._unit_rows:
                    units.append(parameter)
                    project_out(parameter)
        # torch's fused step divides each gradient while it reads it: scaling them beforehand would be one more pass over all.
        self.grad_scale, self.found_inf = factor.reciprocal().float(), torch.zeros_like(norm, dtype=torch.float32)
        self.step()
        del self.grad_scale, self.found_inf
        for matrix in units:
            normalise(matrix)
        for parameter, grad in done.items():
            parameter.grad = grad

    def _step_by_kernel(self, parameter: Tensor, group: dict[str, Any], factor: Tensor) -> bool:
        """Take the step of this parameter if it is a matrix the kernel reads; whether it was."""
        kernels = kernels_for(parameter) if parameter.ndim == 2 else None
        turned = not parameter.is_contiguous()  # W_enc lies latent by latent
        rows = parameter.T if turned else parameter
        unit = id(parameter) in self._unit_rows
        if kernels is None or not rows.is_contiguous() or rows.shape[1] > kernels.WIDEST or (turned and unit):
            return False
        state, grad = self.state[parameter], parameter.grad
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            state |= {moment: torch.zeros_like(parameter) for moment in ("exp_avg", "exp_avg_sq")}
        if (counter := state["step"]) not in self._n_steps:
            self._n_steps[counter] = int(counter)
        self._n_steps[counter] += 1
        counter += 1
        turn = lambda tensor: tensor.T if turned else tensor
        kernels.adam_rows(
            rows, turn(grad).contiguous(), turn(state["exp_avg"]), turn(state["exp_avg_sq"]), step=self._n_steps[counter],
            lr=float(group["lr"]), betas=group["betas"], eps=group["eps"], factor=factor, project=unit, normalise=unit,
        )  # fmt: skip
        return True
