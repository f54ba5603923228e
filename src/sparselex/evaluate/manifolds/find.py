"""Look for features of several dimensions in an index and the decoder rows of its dictionary: groups, clouds, indices,
nulls, ranks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from sparselex.base.errors import UserError
from sparselex.base.estimates import mean_figure
from sparselex.base.figures import Figure, Figures
from sparselex.base.files import write_json
from sparselex.base.progress import progress
from sparselex.base.seeds import generator
from sparselex.base.staging import stage
from sparselex.evaluate.manifolds.clouds import Window, best_of, gaussian_like, of_cloud, windows
from sparselex.evaluate.manifolds.config import ManifoldsConfig
from sparselex.evaluate.manifolds.groups import groups_of, links
from sparselex.evaluate.manifolds.records import KIND, MANIFOLDS, LatentGroup, Manifolds, Plane
from sparselex.features.index import FeatureIndex


class _Looked(NamedTuple):
    """One group beside its nulls."""

    latents: NDArray[np.int64]
    n_tokens: int
    best: Window
    gaussian: float
    random: list[Window]
    """The best plane of each random group of its size that is active on enough tokens."""

    @property
    def by_chance(self) -> float | None:
        """Mean score of these."""
        return float(np.mean([one.score for one in self.random])) if self.random else None

    @property
    def rank(self) -> tuple[bool, float]:
        """Where it stands: by its score less that of random groups, those without such last."""
        return self.by_chance is None, (self.by_chance or 0.0) - self.best.score


def find_manifolds(
    index: FeatureIndex, rows: Float[NDArray, "d_sae d"], config: ManifoldsConfig, to: Path, inputs: Mapping[str, str]
) -> None:
    """Write the artifact `to`. `rows` are the decoder rows of the dictionary that was indexed. Raises `UserError` for
    an index that keeps a sample of activations, and where fewer than three latents are active."""
    index.check_whole("looking for features of several dimensions")
    with stage(to, KIND, config, inputs) as staging:
        if staging.made:
            return
        found = _found(index, np.asarray(rows, dtype=np.float64), config)
        write_json(staging.folder / MANIFOLDS, found.to_json())
        Figures(figures=found.figures).write(staging.folder)
        staging.finish()


def cloud_of(
    index: FeatureIndex,
    rows: Float[NDArray[np.float64], "d_sae d"],
    latents: Sequence[int] | NDArray[np.int64],
    most: int,
    rng: np.random.Generator,
) -> tuple[int, Float[NDArray[np.float64], "n d"]]:
    """On how many tokens one of some latents is active, and what they alone reconstruct on some of these, drawn without
    looking."""
    columns = [index.column(int(latent)) for latent in latents]
    every = np.unique(np.concatenate([positions for positions, _ in columns]))
    drawn = np.sort(rng.choice(every, most, replace=False)) if len(every) > most else every
    acts = np.zeros((len(drawn), len(columns)))
    for place, (positions, values) in enumerate(columns):
        at = np.searchsorted(drawn, positions)
        there = at < len(drawn)
        there[there] = drawn[at[there]] == positions[there]
        acts[at[there], place] = values[there]
    return len(every), acts @ rows[np.asarray(latents)]


def _found(index: FeatureIndex, rows: NDArray[np.float64], config: ManifoldsConfig) -> Manifolds:
    alive = np.flatnonzero(index.table["n_active"] > 0)
    if len(alive) < config.least_size:
        raise UserError(
            f"{len(alive)} latents of the index are ever active.", f"{config.least_size} or more", "index more text."
        )
    every = [alive[one] for one in _groups(rows[alive], config)]
    large = [one for one in every if len(one) >= config.least_size]
    looked, few = _looked(index, rows, large, alive, config)
    looked.sort(key=lambda one: one.rank)
    return Manifolds(
        n_alive=len(alive),
        n_groups=len(every),
        left_out={
            f"fewer than {config.least_size} latents": len(every) - len(large),
            f"active on fewer than {config.least_points} tokens": few,
            f"behind the first {config.most_groups}": max(0, len(large) - few - len(looked)),
        },
        figures=_figures(looked, config.n_random),
        groups=[_record(one, keeps=place < config.n_kept) for place, one in enumerate(looked)],
    )


def _groups(rows: NDArray[np.float64], config: ManifoldsConfig) -> list[NDArray[np.int64]]:
    return groups_of(links(rows, config.n_nearest, config.least_cosine), len(rows), config.most_size)


def _looked(
    index: FeatureIndex,
    rows: NDArray[np.float64],
    groups: Sequence[NDArray[np.int64]],
    alive: NDArray[np.int64],
    config: ManifoldsConfig,
) -> tuple[list[_Looked], int]:
    """The groups that are active on most tokens, and how many are on too few."""
    rng = generator(config.seed, "manifolds")
    active = index.table["n_active"]
    order = sorted(groups, key=lambda one: -int(active[one].sum()))
    found, few = list[_Looked](), 0
    with progress("groups of latents", min(len(order), config.most_groups), "groups") as bar:
        for latents in order:
            if len(found) == config.most_groups:
                break
            n_tokens, best = _best(index, rows, latents, config, rng)
            if best is None:
                few += 1
                continue
            draws = (rng.choice(alive, len(latents), replace=False) for _ in range(config.n_random))
            random = [one for draw in draws if (one := _best(index, rows, draw, config, rng)[1])]
            gaussian = of_cloud(gaussian_like(best.points, rng), rng).score
            found.append(_Looked(latents, n_tokens, best, gaussian, random))
            bar.advance(1)
    return found, few


def _best(
    index: FeatureIndex,
    rows: NDArray[np.float64],
    latents: NDArray[np.int64],
    config: ManifoldsConfig,
    rng: np.random.Generator,
) -> tuple[int, Window | None]:
    n_tokens, x = cloud_of(index, rows, latents, config.most_points, rng)
    if n_tokens < config.least_points:
        return n_tokens, None
    return n_tokens, best_of(windows(x, config.n_components, rng))


def _figures(looked: Sequence[_Looked], n_random: int) -> list[Figure]:
    beside = [one for one in looked if len(one.random) == n_random]
    scores, by_chance = (np.array(column) for column in ([_score(one) for one in beside], [*map(_by_chance, beside)]))
    of = "groups of latents with near decoder rows"
    score = "(1 - mixture index) x separability index in bits, in the best plane of each"
    empty = "no group was large enough and active on enough tokens, as random ones of its size are"
    figure = lambda name, values, words, null: mean_figure(
        f"manifolds/{name}", values, words, over="groups", null=null, empty=empty
    )
    random = f"null: {n_random} groups each of as many latents, drawn at random"
    return [
        figure("score", scores, f"mean over {of} of {score}; {random}", float(by_chance.mean()) if beside else None),
        figure("excess", scores - by_chance, f"mean over {of} of {score}, less that of random groups of its size", 0.0),
        figure(
            "above_random_share",
            np.array([one.best.score > max(other.score for other in one.random) for one in beside], dtype=bool),
            f"share of {of} with a higher score than every one of {n_random} random groups of its size",
            1 / (1 + n_random),
        ),
        figure(
            "gaussian_score",
            np.array([one.gaussian for one in beside]),
            "mean of the same score of a normal cloud with the covariance of each best plane, of as many points",
            None,
        ),
    ]


def _score(one: _Looked) -> float:
    return one.best.score


def _by_chance(one: _Looked) -> float:
    return one.by_chance or 0.0


def _record(one: _Looked, *, keeps: bool) -> LatentGroup:
    n_as_high = sum(other.score >= one.best.score for other in one.random)
    return LatentGroup(
        latents=sorted(one.latents.tolist()),
        n_tokens=one.n_tokens,
        n_points=len(one.best.points),
        best=_plane(one.best, keeps=keeps),
        gaussian=one.gaussian,
        random=_plane(one.random[0], keeps=keeps) if one.random else None,
        n_random=len(one.random),
        random_score=one.by_chance,
        p=(1 + n_as_high) / (1 + len(one.random)) if one.random else None,
    )


def _plane(window: Window, *, keeps: bool) -> Plane:
    return Plane(
        components=window.components,
        mixture=window.mixture,
        separability=window.separability,
        score=window.score,
        points=[(round(float(x), 3), round(float(y), 3)) for x, y in window.points] if keeps else [],
    )
