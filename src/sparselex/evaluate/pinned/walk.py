"""Hold some latents one after another while the model writes, and read what it wrote without holding anything: pinned
sampling, as in Bricken et al. (2023), "Towards Monosemanticity", with its nulls."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sparselex.base.errors import UserError
from sparselex.base.figures import Figures
from sparselex.base.files import write_json
from sparselex.base.progress import progress
from sparselex.base.seeds import derive, generator
from sparselex.base.staging import stage
from sparselex.causal.pinned import Pin, Pinning, Sampling, Wrote
from sparselex.evaluate.pinned.config import PinnedConfig
from sparselex.evaluate.pinned.figures import figures_of
from sparselex.evaluate.pinned.records import FILE, KIND, Group, PinnedLatent, PinnedLatents, Texts
from sparselex.features.index import FeatureIndex


def measure_pinned(
    pinning: Pinning,
    index: FeatureIndex,
    ruled: Sequence[int],
    prompt: str,
    config: PinnedConfig,
    to: Path,
    inputs: Mapping[str, str],
) -> None:
    """Write the artifact `to`. `ruled` are latents by how good their rules are, the best first. Raises `UserError`
    where fewer than two latents are active on enough training tokens."""
    with stage(to, KIND, config, inputs) as staging:
        if staging.made:
            return
        alive = np.flatnonzero((index.table["train_n_active"] >= config.least_active) & (index.table["train_max"] > 0))
        if len(alive) < 2:
            raise UserError(
                f"{len(alive)} latents are active on {config.least_active} training tokens.",
                "2 or more",
                "ask for fewer by --least-active, or index more text.",
            )
        found, left_out = _measured(pinning, index, chosen(ruled, alive, config), alive, prompt, config)
        figures = figures_of(found)
        record = PinnedLatents(
            prompt=prompt, n_samples=config.n_samples, left_out=left_out, figures=figures, latents=found
        )
        write_json(staging.folder / FILE, record.to_json())
        Figures(figures=figures).write(staging.folder)
        staging.finish()


def chosen(ruled: Sequence[int], alive: NDArray[np.int64], config: PinnedConfig) -> list[tuple[int, Group]]:
    """Half of the latents those with the best rules, as far as there are such, half drawn from all others."""
    there = set(alive.tolist())
    best = [latent for latent in ruled if latent in there][: config.n_latents // 2]
    others = np.setdiff1d(alive, best)
    n = min(len(others), config.n_latents - config.n_latents // 2)
    drawn = generator(config.seed, "pinned", "drawn").choice(others, n, replace=False)
    return [*((latent, "best rules") for latent in best), *((int(latent), "drawn at random") for latent in drawn)]


def raised_by(index: FeatureIndex, latent: int) -> list[int]:
    """Tokens whose logits a latent raises most; without a direct path those that most tellingly follow it."""
    found = index.relations.following if index.all_promoted is None else index.all_promoted
    return [] if found is None else [token for token in found[latent].tolist() if token >= 0]


def _measured(
    pinning: Pinning,
    index: FeatureIndex,
    latents: Sequence[tuple[int, Group]],
    alive: NDArray[np.int64],
    prompt: str,
    config: PinnedConfig,
) -> tuple[list[PinnedLatent], dict[str, int]]:
    found, left_out = list[PinnedLatent](), dict[str, int]()
    with progress("pinned", len(latents), "latents") as bar:
        for latent, group in latents:
            try:
                found.append(_of_latent(pinning, index, latent, group, alive, prompt, config))
            except UserError as error:  # a value too large for the model ends this latent's measurement alone
                left_out[error.given] = left_out.get(error.given, 0) + 1
            bar.advance(1)
    return found, left_out


def _of_latent(
    pinning: Pinning,
    index: FeatureIndex,
    latent: int,
    group: Group,
    alive: NDArray[np.int64],
    prompt: str,
    config: PinnedConfig,
) -> PinnedLatent:
    row, largest = pinning.row(prompt), index.table["train_max"]
    pin = Pin(latent, config.times_largest * float(largest[latent]))
    drawn = int(generator(config.seed, "beside", latent).choice(alive[alive != latent]))
    other, tuned = pinning.as_strong(row, pin, Pin(drawn, float(largest[drawn])))
    seeds = [derive(config.seed, "pinned", latent, number) for number in range(config.n_samples)]
    how = Sampling(config.n_new, config.temperature)
    samples = pinning.beside(row, pin, other, seeds, how)
    raised = raised_by(index, latent)
    return PinnedLatent(
        latent=latent,
        group=group,
        value=pin.value,
        kl=pinning.divergence(row, pin),
        other=drawn,
        other_value=other.value,
        other_kl=tuned.divergence,
        plain=_texts(pinning, [one.plain for one in samples], raised),
        pinned=_texts(pinning, [one.pinned for one in samples], raised),
        beside=_texts(pinning, [one.other for one in samples], raised),
    )


def _texts(pinning: Pinning, wrote: Sequence[Wrote], raised: Collection[int]) -> Texts:
    mean = lambda values: float(np.mean(values))
    return Texts(
        text=pinning.model.tokenizer.vocabulary.decode(wrote[0].tokens),
        active_share=mean([one.active_share for one in wrote]),
        raised_share=mean([one.share_of(raised) for one in wrote]),
        loss=mean([one.mean_loss for one in wrote]),
        repeated=mean([one.repeated or 0.0 for one in wrote]),
    )
