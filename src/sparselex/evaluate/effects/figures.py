"""What effects say of a dictionary as a whole."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparselex.base.estimates import Apart, estimate, mean_figure, median_figure
from sparselex.base.figures import Better, Figure
from sparselex.base.intervals import LEAST_DOCUMENTS, Floats
from sparselex.evaluate.effects.config import LEVEL, EffectsConfig
from sparselex.evaluate.effects.places import RANDOM, SILENT, TOP
from sparselex.evaluate.effects.tables import Measured, chance_of_used, larger, mean, table, used

_NO_LATENTS = "no latent was active on the counted tokens of these test documents"

_TINY = 1e-30
"""Instead of a null of 0, which a direction has that nothing reads."""


def causal_figures(found: Measured, config: EffectsConfig, of: str) -> list[Figure]:
    """Figures under `causal/`; `of` says of which latents. Intervals are over latents and over documents, groups of
    which are left out in turn."""
    rows, about = table(found), _About(found, of)
    total, drawn = found.grid(RANDOM, found.effects.total), found.grids(RANDOM, found.effects.directions)
    silent, tops = found.grid(SILENT, found.effects.total), found.grid(TOP, found.effects.total)
    loss = found.grid(RANDOM, found.effects.loss)
    of_directions = lambda group: np.stack([mean(one.without(group)) for one in drawn])
    followed = f"at the token and on {config.n_after} behind it"
    places = f"at {config.n_random} places drawn at random from those where each is active in test documents"
    directions = f"{config.n_directions} random directions of the same size, drawn with the activations' covariance"
    return [
        about.share(
            "used_share",
            rows["used"],
            f"whose ablation changes the predictions {followed}, {places}, by more (mean KL divergence) than "
            f"{100 * (1 - LEVEL):g} % of {directions}, at the same places; null: what chance gives",
            lambda group: used(mean(total.without(group)), of_directions(group)),
            null=chance_of_used(config.n_directions),
        ),
        about.share(
            "specific_share",
            rows["specific"],
            "whose ablation where they are active changes the predictions by more than their direction added as "
            f"strongly where they are silent (at most {min(config.n_random, config.n_silent)} pairs of such places; "
            f"exact signed ranks, one side, {100 * LEVEL:g} %); null: what chance gives of so many pairs",
            lambda group: larger(total.without(group), silent.without(group)).told,
            null=_mean(larger(total.values, silent.values).chance),
        ),
        about.median(
            "effect",
            rows["effect"],
            f"of the mean KL divergence of the predictions without it, summed {followed}, {places}; null: the same of "
            f"{directions}, their mean",
            lambda group: mean(total.without(group)),
            null=_median(rows["null"]),
            unit="nats",
        ),
        about.median(
            "effect_ratio",
            rows["effect"] / np.maximum(rows["null"], _TINY),
            f"of that effect over the mean one of {directions}, at the same places; null: equal",
            lambda group: mean(total.without(group)) / np.maximum(of_directions(group).mean(0), _TINY),
            null=1.0,
            better="higher",
        ),
        about.median(
            "effect_top",
            rows["top"],
            f"of the same effect at the {config.n_top} places where each is most active; null as there",
            lambda group: mean(tops.without(group)),
            null=_median(rows["top_null"]),
            unit="nats",
        ),
        about.median(
            "loss",
            rows["loss"],
            f"of the mean rise of the cross-entropy of the next token without it, {places}",
            lambda group: mean(loss.without(group)),
            unit="nats",
        ),
        about.median(
            "dose",
            rows["dose"],
            "of the rank correlation of activation and effect over one place from each of "
            f"{config.n_intervals} ranges of activation; null: none",
            null=0.0,
        ),
        _later_share(found, config, of),
    ]


class _About(NamedTuple):
    """What the figures are of."""

    found: Measured
    of: str

    def share(
        self,
        name: str,
        flags: NDArray[np.bool_],
        words: str,
        without: Callable[[int], NDArray[np.bool_]],
        *,
        null: float | None,
    ) -> Figure:
        at_random = self.found.grid(RANDOM, self.found.effects.total)

        def told(group: int) -> Floats:
            """NaN for a latent that has no place without these documents: it is no latent that is not used."""
            return np.where(np.isfinite(at_random.without(group)).any(1), without(group), np.nan)

        apart = self._apart(told, np.ones(len(flags), dtype=bool))
        said: dict[str, Any] = {"over": "latents", "empty": _NO_LATENTS, "null": null, "better": "higher"}
        return mean_figure(f"causal/{name}", flags, f"share of {self.of} {words}", apart=apart, **said)

    def median(
        self,
        name: str,
        values: Floats,
        words: str,
        without: Callable[[int], Floats] | None = None,
        *,
        null: float | None = None,
        unit: str = "",
        better: Better = "",
    ) -> Figure:
        known = np.isfinite(values)
        return median_figure(
            f"causal/{name}",
            values[known],
            f"median over {self.of} {words}",
            over="latents",
            apart=self._apart(without, known) if without else None,
            null=null,
            unit=unit,
            better=better,
            empty=_NO_LATENTS,
        )

    def _apart(self, without: Callable[[int], Floats], known: NDArray[np.bool_]) -> Apart | None:
        n_groups = int(self.found.groups.max(initial=-1)) + 1
        if not n_groups:
            return None
        return Apart(np.stack([without(group)[known] for group in range(n_groups)]), self.found.n_documents)


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None


def _median(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else None


def _later_share(found: Measured, config: EffectsConfig, of: str) -> Figure:
    here = found.places.kind == RANDOM
    sums = np.zeros((int(found.groups.max(initial=-1)) + 1, 2))
    np.add.at(sums[:, 0], found.groups[here], found.effects.kl_later[here])
    np.add.at(sums[:, 1], found.groups[here], found.effects.total[here])
    return estimate(
        "causal/later_share",
        sums,
        lambda s: s[..., 0] / s[..., 1],
        f"share of the KL divergence without each of {of} that falls on the {config.n_after} tokens behind the edited "
        "one rather than on that itself",
        over="groups of documents",
        least=LEAST_DOCUMENTS,
        share=True,
        n=int(here.sum()),
        empty=_NO_LATENTS,
    ).figure
