"""A device that no machine has: code that mixes its tensors with the CPU's fails as on a GPU, and nothing needs one."""

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

ELSEWHERE = torch.device("xpu")


class There(Tensor):
    """A tensor on `ELSEWHERE`, in truth on the CPU."""

    device = ELSEWHERE

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        """As PyTorch refuses it for a GPU's tensors."""
        raise TypeError("can't convert a tensor of another device to numpy")


class Elsewhere(TorchFunctionMode):
    """While this lasts, tensors can be taken to `ELSEWHERE` and back, made there, and mixed with no others but
    scalars."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.to and args[1] == ELSEWHERE:
            return args[0].as_subclass(There)
        if func is Tensor.cpu:
            return args[0].as_subclass(Tensor)
        if kwargs.get("device") == ELSEWHERE:
            return func(*args, **kwargs | {"device": "cpu"}).as_subclass(There)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf.dim()]
        if len({type(tensor) is There for tensor in tensors}) > 1:
            raise RuntimeError(f"{func.__name__}: tensors of two devices")
        return func(*args, **kwargs)


def moved(module: torch.nn.Module) -> torch.nn.Module:
    """The module with all its tensors on `ELSEWHERE`."""
    for part in module.modules():
        for held in (part._parameters, part._buffers):
            held.update({name: value.detach().as_subclass(There) for name, value in held.items() if value is not None})
    return module
