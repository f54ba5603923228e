"""In which precision a machine multiplies fastest."""

import math
import time
from functools import lru_cache

import torch

from sparselex.dictionaries.kinds import SelectionDtype

_PRECISIONS = torch.bfloat16, torch.float32


def fastest_selection(device: torch.device | str = "cpu") -> SelectionDtype:
    """`bfloat16` where this device multiplies it faster than float32."""
    if torch.device(device).type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    found = torch.cpu.get_capabilities()
    pays = found.get("amx_bf16") or (found.get("avx512_bf16") and _bfloat16_pays())
    return "bfloat16" if pays else "float32"


@lru_cache(maxsize=1)
def _bfloat16_pays() -> bool:
    """Measured, since processors with the same instructions differ: Zen 4 is four times as fast with them, an Intel
    without AMX half as fast (docs/lab-log.md)."""
    pairs = [(torch.ones(512, 512, dtype=dtype), torch.ones(512, 4096, dtype=dtype)) for dtype in _PRECISIONS]
    best = [math.inf, math.inf]
    for _ in range(5):
        for number, (x, W) in enumerate(pairs):
            started = time.perf_counter()
            torch.mm(x, W)
            best[number] = min(best[number], time.perf_counter() - started)
    return best[0] < best[1]
