"""How strong an edit must be to change what a model predicts by a stated amount."""

import math
from collections.abc import Callable
from typing import NamedTuple

from sparselex.base.errors import UserError

_LOWEST, _HIGHEST = -3.0, 5.0
"""Strengths that are tried, as powers of ten."""

_MOST = 14
"""How often a divergence is measured at most."""

_TINY = 1e-12
"""A divergence below which its logarithm means nothing."""

_CLOSE = 0.1
"""How far it may be off at the end, as a share of what is wanted."""


class Tuned(NamedTuple):
    """A strength, and what it does."""

    strength: float
    """The strength whose divergence is nearest to the target, in the logarithm."""

    divergence: float
    """What it is, nats."""

    converged: bool
    """Whether that is the target within a tenth."""


def tuned(divergence: Callable[[float], float], target: float, *, start: float = 100.0) -> Tuned:
    """The strength at which `divergence`, in nats, is `target`.

    As long as all that was tried lies on one side the strength is moved by powers of ten; between two on either side
    the logarithm of the divergence is taken to be linear in that of the strength (Paulo et al. 2024, on
    interventions). A divergence need not rise everywhere: what is given is the nearest that was seen. Raises
    `UserError` for a target that is no divergence.
    """
    if not 0 < target < math.inf:
        raise UserError(f"A divergence of {target} was wanted.", "a finite number of nats above 0", "give 1, say.")
    at, tried = math.log10(start), dict[float, float]()
    for _ in range(_MOST):
        tried[at] = divergence(10**at)
        if abs(tried[at] - target) <= _CLOSE * target or (at := _next(tried, target)) in tried:
            break
    best = min(tried, key=lambda one: abs(math.log(max(tried[one], _TINY) / target)))
    return Tuned(10**best, tried[best], abs(tried[best] - target) <= _CLOSE * target)


def _next(tried: dict[float, float], target: float) -> float:
    """Where to look next, as a power of ten: one that was tried already where there is nothing more to be seen."""
    last = next(reversed(tried))
    under = [at for at, found in tried.items() if found < target]
    over = [at for at, found in tried.items() if found >= target]
    if not over or not under:
        return min(_HIGHEST, last + 1) if under else max(_LOWEST, last - 1)
    # The nearest pair that has it between them, the last strength among it.
    others = under if last in over else over
    other = min(others, key=lambda at: abs(at - last))
    ends = [(at, math.log(max(tried[at], _TINY))) for at in (last, other)]
    (a, low), (b, high) = ends
    part = (math.log(target) - low) / (high - low) if high != low else 0.5
    # Where one end is flat a straight line creeps: it is kept away from both ends.
    return a + (b - a) * min(0.9, max(0.1, part))
