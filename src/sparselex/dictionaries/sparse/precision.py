"""In which precision a machine multiplies fastest."""

import torch

from sparselex.dictionaries.kinds import SelectionDtype


def fastest_selection(device: torch.device | str = "cpu") -> SelectionDtype:
    """`bfloat16` where this device multiplies it faster than float32; told from what the device is and not measured, so
    that it is the same on every day."""
    if torch.device(device).type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    found = torch.cpu.get_capabilities()
    # AMD's processors (only they have SSE4a) are four times as fast with AVX-512's instructions for it; Intel's without
    # AMX are half as fast (docs/lab-log.md).
    pays = found.get("amx_bf16") or (found.get("avx512_bf16") and found.get("sse4a"))
    return "bfloat16" if pays else "float32"
