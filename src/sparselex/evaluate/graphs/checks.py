"""Whether what a graph says of changes comes true."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sparselex.base.estimates import figure_of
from sparselex.base.figures import Figure
from sparselex.base.intervals import Floats
from sparselex.base.progress import progress
from sparselex.base.seeds import derive
from sparselex.causal.graphs.interventions import Changed, measured, predicted, push_of, random_push
from sparselex.causal.graphs.local import Direct, LocalModel
from sparselex.evaluate.graphs.config import GraphConfig

FACTORS = (0.0, 2.0)
"""A feature is taken away, and doubled."""

LEAST = 1e-3
"""Changes of logits and, as shares of their activation, of features below which the graph says that nothing happens."""

SEVERAL_LAYERS = (
    "a cross-layer transcoder writes for later blocks, whose own MLPs would do in the model what it has written already"
)

_IN = {
    "replacement": "in the replacement model (attention, norms and errors held, latents coded anew)",
    "model": "in the model itself, its attention patterns held",
}


class Checked(NamedTuple):
    """Pairs of a change and a target, and what was said and what came of each."""

    sources: Int[Tensor, " m"]
    factors: Float[Tensor, " m"]
    targets: Int[Tensor, " m"]
    """Among features, then outputs."""

    predicted: Float[Tensor, " m"]
    shuffled: Float[Tensor, " m"]
    """What was said of another target of the same change and kind."""

    found: dict[Changed, Float[Tensor, " m"]]
    random: dict[Changed, Float[Tensor, " m"]]
    """What a change as long in another direction did to the same targets."""

    def holds(self, where: Changed, tolerance: float) -> Bool[Tensor, " m"]:
        """Whether each claim came true."""
        return _holds(self.predicted, self.found[where], tolerance)


def check(local: LocalModel, direct: Direct, kept: Bool[Tensor, " n"], config: GraphConfig) -> Checked | None:
    """Change some of the kept features, and look at kept features and outputs. None where there is nothing to check."""
    features = kept[local.span("features")].nonzero()[:, 0]
    if not config.n_checked or not len(features):
        return None
    draws = torch.Generator().manual_seed(derive(config.seed, "checked features"))
    drawn = features[torch.randperm(len(features), generator=draws)[: config.n_checked]]
    sources = drawn.repeat_interleave(len(FACTORS))
    factors = torch.tensor(FACTORS).repeat(len(drawn))
    said = predicted(local, direct, sources, factors)
    pushes = [push_of(local, int(n), float(factor)) for n, factor in zip(sources, factors, strict=True)]
    others = [random_push(local, int(n), float(f), draws) for n, f in zip(sources, factors, strict=True)]
    several = any(len(one.latents.columns) > 1 for one in local.stack.transcoders)
    where: tuple[Changed, ...] = ("replacement",) if several else ("replacement", "model")
    found, random = dict[Changed, Tensor](), dict[Changed, Tensor]()
    with progress("checks", 2 * len(pushes) * len(where), "changes") as bar:
        for one in where:
            for into, made in ((found, pushes), (random, others)):
                into[one] = measured(local, made, one)
                bar.advance(len(made))
    rows, targets, shuffled = _chosen(local, said, sources, features, config.n_targets, draws)
    pick = lambda values: values[rows, targets]
    return Checked(
        sources[rows],
        factors[rows],
        targets,
        pick(said),
        said[rows, shuffled],
        {one: pick(values) for one, values in found.items()},
        {one: pick(values) for one, values in random.items()},
    )


def held_figures(checked: Checked | None, config: GraphConfig) -> list[Figure]:
    """Shares of claims that held, in each of both models."""
    return [_held(checked, one, config) for one in ("replacement", "model")]


def _chosen(
    local: LocalModel, said: Tensor, sources: Tensor, features: Tensor, most: int, draws: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Of each change the targets with the largest changes by what is said, features and outputs apart, and for each
    another of them."""
    n = len(local.features)
    relative = said.abs().clone()
    relative[:, :n] /= local.features.act.abs()
    relative[torch.arange(len(sources)), sources] = 0
    kinds = [features, torch.arange(n, said.shape[1])]
    rows, targets, shuffled = list[int](), list[int](), list[int]()
    for row in range(len(sources)):
        for kind in kinds:
            best = relative[row, kind].topk(min(most, len(kind)))
            those = kind[best.indices[best.values > LEAST]]
            turned = those.roll(1) if len(those) > 1 else those.new_zeros(0)
            rows += [row] * len(those)
            targets += those.tolist()
            # A lone target has no other: it is held against a draw from all of its kind.
            other = kind[torch.randint(len(kind), (len(those),), generator=draws)]
            shuffled += (turned if len(turned) else other).tolist()
    whole = lambda column: torch.tensor(column, dtype=torch.long)
    return whole(rows), whole(targets), whole(shuffled)


def _holds(said: Tensor, found: Tensor, tolerance: float) -> Tensor:
    return (said * found > 0) & ((found - said).abs() <= tolerance * said.abs())


def _held(checked: Checked | None, where: Changed, config: GraphConfig) -> Figure:
    words = (
        "share of what the graph says of changes (each of some drawn features taken away, and doubled; its edges "
        f"followed along all paths) that comes true {_IN[where]}: with the same sign, and off by at most "
        f"{config.tolerance:g} of what is said; null: a change as long along what another latent of the same "
        "transcoder writes; control: what is said of another target"
    )
    name = f"graph/held_in_{where}"
    missing = "nothing was checked" if checked is None or not len(checked.predicted) else ""
    if checked is not None and where not in checked.found:
        missing = SEVERAL_LAYERS
    if checked is None or missing:
        return Figure(name=name, definition=words, failure=missing)
    held = checked.holds(where, config.tolerance)
    sums = _by_source(checked.sources, held)
    null = _holds(checked.predicted, checked.random[where], config.tolerance).float().mean()
    shuffled = _holds(checked.shuffled, checked.found[where], config.tolerance).float().mean()
    figure = figure_of(
        name,
        sums,
        lambda s: s[..., 0] / s[..., 1],
        words,
        over="changed features",
        share=True,
        n=len(held),
        null=float(null),
        better="higher",
    )
    return figure.model_copy(update={"controls": {"another target": float(shuffled)}})


def _by_source(sources: Int[Tensor, " m"], held: Bool[Tensor, " m"]) -> Floats:
    """Of each feature how many claims held, and how many there were."""
    _, places = sources.unique(return_inverse=True)
    sums = [torch.bincount(places, weights=held.double()), torch.bincount(places).double()]
    return torch.stack(sums, dim=1).numpy()
