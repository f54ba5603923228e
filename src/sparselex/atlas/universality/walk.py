"""Universality: the latents of a run in other runs, the model's neurons in other models, and what pairs do to the next
token."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sparselex.activations.live import Reader
from sparselex.atlas.compare.columns import columns
from sparselex.atlas.universality.attribution import Attributed, LogitWeights, Side, attributed
from sparselex.atlas.universality.config import UniversalityConfig
from sparselex.atlas.universality.figures import Measured, universality_figures
from sparselex.atlas.universality.latents import Columns, Matched, match_latents
from sparselex.atlas.universality.neurons import Activity, Neurons, match_neurons
from sparselex.atlas.universality.records import FILE, KIND, OtherRun, Universal, Universality
from sparselex.atlas.universality.tokens import Tokens, common_tokens
from sparselex.base.errors import UserError
from sparselex.base.figures import Figures
from sparselex.base.files import write_json
from sparselex.base.intervals import effective_units
from sparselex.base.progress import progress
from sparselex.base.seeds import generator
from sparselex.base.staging import stage
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.features.build import ranked_tokens
from sparselex.features.index import FeatureIndex
from sparselex.features.stream import written_to_stream
from sparselex.lm.subject import Readable
from sparselex.text.rows import positions_in


class Looked(NamedTuple):
    """A run that is held against another."""

    run: str
    """Its name."""

    model: Readable
    """The model that it reads."""

    model_name: str
    """What that is called."""

    differs: str
    """What it has otherwise than the first, in words."""

    features: FeatureIndex
    """Its activations."""

    dictionary: Dictionary
    """Its directions."""

    signed: bool
    """Whether its activations may be negative."""

    @property
    def model_id(self) -> str:
        """Models of one id are one model."""
        return self.features.manifest.inputs["model"]


SAME_MODEL = "both runs read one model, whose neurons are the same"


def universality(
    run: Looked, others: Iterable[Looked], config: UniversalityConfig, to: Path, *, inputs: Mapping[str, str]
) -> Universal:
    """Hold a run against others of the same text and write what was found to `to`; unchanged work is not done again.

    Raises `UserError` for an index that keeps a sample of activations, and where one has no latent that is active often
    enough.
    """
    with stage(to, KIND, config, inputs) as staging:
        if staging.made:
            return Universal(to)
        found = list[OtherRun]()
        for other in others:
            summary, tables = _held_against(run, other, config)
            found.append(summary)
            for name, table in tables.items():
                pq.write_table(pa.table(table), staging.folder / f"{name}-{other.run}.parquet")
        whole = Universality(index=run.features.id, model=run.model_name, n_latents=run.features.d_sae, others=found)
        write_json(staging.folder / FILE, whole.to_json())
        Figures(figures=[figure for one in found for figure in one.figures]).write(staging.folder)
        staging.finish()
    return Universal(to)


def _held_against(a: Looked, b: Looked, config: UniversalityConfig) -> tuple[OtherRun, dict[str, dict[str, NDArray]]]:
    chosen, judged = common_tokens(a.features, b.features, config.n_tokens)
    left, right = (
        Columns.of(columns(one.features, chosen.ranks), columns(one.features, judged.ranks), config.least_active)
        for one in (a, b)
    )
    for one, name in ((left, a.run), (right, b.run)):
        if not len(one.kept):
            raise _too_rare(name, config)
    sizes, groups = judged.documents(a.features.corpus, config.n_groups)
    n_groups, signed = int(groups.max()) + 1, a.signed or b.signed
    with progress(f"latents beside {b.run}", 2 * len(left.kept), "latents") as bar:
        rng = generator(config.seed, "universality", b.run, "shift")
        latents = match_latents(left, right, groups, n_groups, rng, signed=signed, told=bar.advance)
    missing = dict[str, str]()
    neurons = _neurons(a, b, (left, right), (chosen, judged), groups, n_groups) if a.model_id != b.model_id else None
    if neurons is None:
        missing["neurons"] = SAME_MODEL
    done = _attributed(a, b, (left, right), latents, judged, groups, n_groups, config)
    if isinstance(done, str):
        missing["attribution"] = done
    both = None if isinstance(done, str) else done
    where = f"over {len(judged.positions):,} tokens of test documents"
    single = np.asarray(a.features.single_token)[left.kept]
    measured = Measured(latents, neurons, both, single, effective_units(sizes))
    summary = OtherRun(
        run=b.run,
        index=b.features.id,
        model=b.model_name,
        same_model=a.model_id == b.model_id,
        differs=b.differs,
        n_latents=b.features.d_sae,
        n_compared=len(left.kept),
        n_chosen=len(chosen.positions),
        n_judged=len(judged.positions),
        n_documents=len(sizes),
        missing=missing,
        figures=universality_figures(b.run, measured, where, config.least_active, signed=signed),
    )
    tables = {"latents": _latents(a.features.d_sae, (left, right), measured), "neurons": _of_neurons(neurons, right)}
    return summary, tables


def _too_rare(run: str, config: UniversalityConfig) -> UserError:
    return UserError(
        f"No latent of run {run!r} is active on {config.least_active:,} of the tokens that both indexes counted.",
        "latents that are active more often",
        "index more text, or give a smaller --least-active.",
    )


def _neurons(
    a: Looked,
    b: Looked,
    latents: tuple[Columns, Columns],
    tokens: tuple[Tokens, Tokens],
    groups: NDArray[np.int64],
    n_groups: int,
) -> Neurons:
    readers = [Reader(one.model, a.features.corpus, one.features.sites) for one in (a, b)]
    n_tokens = sum(len(one.positions) for one in tokens)
    with progress(f"neurons beside {b.run}", n_tokens, "tokens") as bar:
        passes = [_activity(readers, one.ranks, bar.advance) for one in tokens]
        widths = readers[0].d_in, readers[1].d_in
        return match_neurons(passes[0], passes[1], *latents, widths, groups, n_groups)


def _activity(readers: list[Reader], ranks: NDArray[np.int64], told: Callable[[int], None]) -> Iterator[Activity]:
    """What both models are on the tokens that have a rank, in their order."""
    n_ctx, step = readers[0].corpus.n_ctx, min(reader.batch_rows for reader in readers)
    rows = np.flatnonzero((ranks >= 0).reshape(-1, n_ctx).any(axis=1))
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        there = ranks[positions_in(part, n_ctx)] >= 0
        a, b = (reader.values(part).x.float().cpu().numpy()[there] for reader in readers)
        yield Activity(a, b)
        told(len(a))


def _attributed(
    a: Looked,
    b: Looked,
    latents: tuple[Columns, Columns],
    found: Matched,
    judged: Tokens,
    groups: NDArray[np.int64],
    n_groups: int,
    config: UniversalityConfig,
) -> Attributed | str:
    """How alike pairs are in what they do to the next token, or why that is not known."""
    corpus = a.features.corpus
    try:
        written = [
            written_to_stream(one.model, one.dictionary.W_dec.detach().to(one.model.device), one.features.sites)
            for one in (a, b)
        ]
    except UserError as error:
        return error.given
    flat, documents = np.asarray(corpus.tokens).reshape(-1), np.asarray(corpus.documents).reshape(-1)
    behind = np.minimum(judged.positions + 1, len(flat) - 1)
    goes_on = ((judged.positions + 1) % corpus.n_ctx > 0) & (documents[behind] == documents[judged.positions])
    ranked = ranked_tokens(corpus, 1)
    left, right = (
        Side(one.kept, one.judged[:, np.flatnonzero(goes_on)], LogitWeights(weights, ranked))
        for one, weights in zip(latents, written, strict=True)
    )
    rng = generator(config.seed, "universality", b.run, "another")
    following = flat[behind[goes_on]].astype(np.int64)
    return attributed(left, right, found.found.match, following, groups[goes_on], n_groups, rng)


def _latents(d_sae: int, both: tuple[Columns, Columns], found: Measured) -> dict[str, NDArray]:
    """Columns over all latents of the run."""
    left, right = both
    numbers = {"match": (found.latents.found.match, right.kept)}
    values = {
        "r": found.latents.found.judged.value,
        "r_chosen": found.latents.found.chosen,
        "null": found.latents.null.judged.value,
    }
    if found.neurons is not None:
        of_latents = found.neurons.of_latents
        numbers["neuron"] = of_latents.match, np.arange(int(of_latents.match.max(initial=-1)) + 1)
        values["neuron_r"] = of_latents.judged.value
    if found.attributed is not None:
        values |= {
            "attribution": found.attributed.vectors.value,
            "attribution_null": found.attributed.vectors_null.value,
            "logit": found.attributed.weights,
            "logit_null": found.attributed.weights_null,
        }
    table: dict[str, NDArray] = {"latent": np.arange(d_sae, dtype=np.int32)}
    for name, (places, of) in numbers.items():
        table[name] = np.full(d_sae, -1, dtype=np.int32)
        table[name][left.kept] = _named(places, of)
    for name, value in values.items():
        table[name] = np.full(d_sae, np.nan, dtype=np.float32)
        table[name][left.kept] = value
    table["mutual"] = np.zeros(d_sae, dtype=bool)
    table["mutual"][left.kept] = found.latents.mutual
    return table


def _of_neurons(found: Neurons | None, right: Columns) -> dict[str, NDArray]:
    """Columns over all neurons of the model."""
    if found is None:
        return {"neuron": np.zeros(0, dtype=np.int32)}
    return {
        "neuron": np.arange(len(found.neurons.match), dtype=np.int32),
        "match": found.neurons.match.astype(np.int32),
        "r": found.neurons.judged.value.astype(np.float32),
        "r_chosen": found.neurons.chosen.astype(np.float32),
        "null": found.neurons_null.judged.value.astype(np.float32),
        "latent": _named(found.to_latents.match, right.kept).astype(np.int32),
        "latent_r": found.to_latents.judged.value.astype(np.float32),
    }


def _named(places: NDArray[np.int64], of: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers of what stands at some places; -1 for none."""
    return np.where(places >= 0, of[places.clip(min=0)] if len(of) else -1, -1)
