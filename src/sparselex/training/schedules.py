"""Learning rates."""


def peak_lr(d_sae: int, n_steps: int) -> float:
    """Peak learning rate of Adam when none is given.

    `2e-4 / sqrt(d_sae / 2^14)` is the rule for long runs (Gao et al. 2024, figure 3). Runs of a few hundred steps end
    long before that rate has done its work: on the demo the loss was lowest near five times the rule (docs/lab-log.md),
    so the rate is raised by up to 5 as the run gets shorter than 40,000 steps.
    """
    return 2e-4 * (2**14 / d_sae) ** 0.5 * min(5.0, max(1.0, (40_000 / n_steps) ** 0.5))


def lr_factor(step: int | float, n_steps: int, *, warmup_steps: int, decay_share: float) -> float:
    """Linear warm-up, plateau, linear decay to zero over the last `decay_share` of the steps."""
    up = (step + 1) / warmup_steps if warmup_steps else 1.0
    down = (n_steps - step) / (decay_share * n_steps) if decay_share else 1.0
    return min(1.0, up, down)
