"""Whose directions are ablated: a dictionary's latents, and those of control dictionaries on the same rows."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sparselex.activations.live import Reader
from sparselex.base.progress import progress
from sparselex.base.seeds import generator
from sparselex.base.sites import Sites
from sparselex.causal.latents import Latents
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.evaluate.effects.config import EffectsConfig
from sparselex.evaluate.effects.places import Places, drawn_latents, index_places, places
from sparselex.evaluate.moments import target_of
from sparselex.features.examples import Entries
from sparselex.features.index import FeatureIndex
from sparselex.lm.subject import SubjectModel


class Subject(NamedTuple):
    """A dictionary at its place, and where its latents are ablated."""

    latents: Latents
    """What is added or taken away."""

    places: Places
    """Where."""

    words: str
    """Which of its latents, for definitions of figures."""


def of_dictionary(
    model: SubjectModel,
    dictionary: Dictionary,
    index: FeatureIndex,
    sites: Sites,
    rows: NDArray[np.int64],
    config: EffectsConfig,
) -> Subject:
    """The dictionary that the index is of."""
    found = index_places(index, drawn_latents(index, rows, config), rows, config)
    n = len(np.unique(found.latent))
    words = f"the {n:,} latents measured of {index.d_sae:,}"
    return Subject(Latents.of(dictionary, model, sites), found, words)


@torch.no_grad()
def of_controls(
    reader: Reader,
    model: SubjectModel,
    controls: Mapping[str, Dictionary],
    index: FeatureIndex,
    rows: NDArray[np.int64],
    config: EffectsConfig,
) -> dict[str, Subject]:
    """Control dictionaries of what is written, with as many active directions on each counted token of these rows as
    the index has of latents there."""
    chosen = {
        name: np.sort(generator(config.seed, "effects", name).permutation(control.d_sae)[: config.control_latents])
        for name, control in controls.items()
    }
    entries: dict[str, list[Entries]] = {name: [] for name in controls}
    counted: list[NDArray[np.int64]] = []
    with progress("controls", len(rows) * index.corpus.n_ctx, "tokens") as bar:
        for part in np.split(rows, np.arange(reader.batch_rows, len(rows), reader.batch_rows)) if controls else []:
            batch = reader.read(part)
            batch = batch.at(index.counted[batch.positions])
            counted.append(batch.positions)
            as_sparse = torch.from_numpy(index.active_by_position[batch.positions].astype(np.int64))
            for name, control in controls.items():
                codes = control.encode_as_sparse(target_of(batch).to(control.b_dec.device), as_sparse)
                numbers, values = codes.indices.cpu().numpy(), codes.values.cpu().numpy()
                positions = np.repeat(batch.positions, codes.indptr.diff().cpu().numpy())
                place = np.searchsorted(chosen[name], numbers).clip(max=len(chosen[name]) - 1)
                kept = np.flatnonzero(chosen[name][place] == numbers)
                entries[name].append(Entries(place[kept].astype(np.int64), positions[kept], values[kept]))
            bar.advance(len(part) * index.corpus.n_ctx)
    return {
        name: Subject(
            Latents.of(control, model, Sites(hooks=reader.sites.written)),
            places(_by_latent(entries[name]), chosen[name], np.concatenate(counted), index.corpus.n_ctx, config),
            f"{len(chosen[name]):,} directions drawn from {control.d_sae:,}",
        )
        for name, control in controls.items()
    }


def _by_latent(parts: list[Entries]) -> Entries:
    whole = Entries(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    return whole.take(np.lexsort((whole.position, whole.latent)))
