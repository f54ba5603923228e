"""Compare two dictionaries of one workspace: matched pairs, what only one has, what one has in parts."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sparselex.atlas.compare.activations import Activations, Common, by_activations
from sparselex.atlas.compare.columns import columns, common_ranks, n_active
from sparselex.atlas.compare.figures import Measured, comparison_figures, reported
from sparselex.atlas.compare.pairs import alike, cosines, mutual, pair_cosines, partners
from sparselex.atlas.compare.records import KIND, SUMMARY, WORDS, Compared, Comparison, Measure, Side, SideSummary
from sparselex.atlas.compare.words import Speaks, Worded, chosen_pairs, columns_of, worded
from sparselex.atlas.config import CompareConfig
from sparselex.base.errors import UserError
from sparselex.base.figures import Figures
from sparselex.base.files import write_json
from sparselex.base.seeds import generator
from sparselex.base.staging import stage
from sparselex.features.index import FeatureIndex


class Compares(NamedTuple):
    """One of two dictionaries that are compared."""

    run: str
    """Its run."""

    features: FeatureIndex
    """Its activations."""

    rows: NDArray[np.float32] | None
    """`[d_sae, d_out]`, its directions; None where they lie in another space than the other's."""

    signed: bool
    """Whether its activations may be negative."""


NO_SPACE = "the two reconstruct other places or other models, so that a direction of one is none of the other's"
NO_TEXT = "the two indexes are of different texts"
TOO_RARE = "no latent of one of the two is active often enough on the tokens that both indexes counted"
COVARIANCE = "as many random rows with the second moments of the other side's directions"


def compare(
    a: Compares,
    b: Compares,
    config: CompareConfig,
    to: Path,
    *,
    inputs: Mapping[str, str],
    speaks: Speaks | None = None,
) -> Compared:
    """Compare two dictionaries and write what was found to `to`; unchanged work is not done again.

    By the cosine of their decoder rows where these lie in one space, by the correlation of their activations where both
    indexes are of one corpus; the pairs of either by what is said of them, where somebody `speaks`. Raises `UserError`
    where neither is so.
    """
    with stage(to, KIND, config, inputs) as staging:
        if staging.made:
            return Compared(to)
        measured: dict[Measure, Measured] = {}
        missing: dict[Measure, str] = {}
        if a.rows is None or b.rows is None:
            missing["cosine"] = NO_SPACE
        else:
            measured["cosine"] = by_cosine(a.rows, b.rows, config, signed=a.signed or b.signed)
        common = _common(a, b, config)
        found = by_activations(*common, config, signed=a.signed or b.signed) if isinstance(common, tuple) else None
        if found:
            measured["correlation"] = found.measured
        else:
            missing["correlation"] = str(common)
        if not measured:
            raise _nothing_common(a, b, missing)
        both = common if isinstance(common, tuple) else None
        said = {name: _said(name, one, config, speaks) for name, one in measured.items()} if speaks else {}
        summary = _with_words(_summary((a, b), measured, missing, both, found), said, inputs)
        write_json(staging.folder / SUMMARY, summary.to_json())
        Figures(figures=reported(summary.figures, b.run)).write(staging.folder)
        tables = _tables((a, b), measured, both, found)
        for name, one in said.items():
            tables = _with_columns(tables, name, one, measured[name].partner)
        for side, table in tables.items():
            pq.write_table(table, staging.folder / f"{side}.parquet")
        staging.finish()
    return Compared(to)


class _Said(NamedTuple):
    """What explainers say of pairs of one matching."""

    left: NDArray[np.int64]
    """`[n]`, latents of the first side whose pairs were looked at."""

    by: dict[str, Worded]
    """What was found, by explainer."""


def _said(name: str, found: Measured, config: CompareConfig, speaks: Speaks) -> _Said:
    left = chosen_pairs(found.partner, config.most_pairs, config.seed)
    right, alike = found.partner[left], found.matched[left]
    each = found.mutual[left] & (found.best["a"][left] == right)
    by = {who: worded(name, who, speaks.of(who, left, right), alike, each) for who in speaks.explainers}
    return _Said(left, by)


def _with_words(found: Comparison, said: Mapping[Measure, _Said], inputs: Mapping[str, str]) -> Comparison:
    measures = {
        name: one.model_copy(update={"words": {who: by.summary for who, by in said[name].by.items()}})
        for name, one in found.measures.items()
        if name in said
    }
    figures = [figure for one in said.values() for by in one.by.values() for figure in by.figures]
    return found.model_copy(
        update={
            "measures": found.measures | measures,
            "figures": [*found.figures, *figures],
            "said": inputs.get(WORDS, ""),
        }
    )


def _with_columns(
    tables: dict[str, pa.Table], name: str, said: _Said, partner: NDArray[np.int64]
) -> dict[str, pa.Table]:
    """The tables of latents with what explanations say of their pairs."""
    tables = dict(tables)
    for side, rows in (("a", said.left), ("b", partner[said.left])):
        for who, found in said.by.items():
            for column, values in columns_of(name, who, found, rows, tables[f"latents-{side}"].num_rows).items():
                tables[f"latents-{side}"] = tables[f"latents-{side}"].append_column(column, pa.array(values))
    return tables


def by_cosine(
    left: NDArray[np.float32], right: NDArray[np.float32], config: CompareConfig, *, signed: bool
) -> Measured:
    """Best matches of either side by cosine, and the one-to-one pairs; beside both what as many random rows that lie in
    the same directions would give."""
    k, rng = config.n_candidates, generator(config.seed, "compare", "rows")
    chance_right, chance_left = alike(right, rng), alike(left, rng)
    found, chance = cosines(left, right, k, signed=signed), cosines(left, chance_right, k, signed=signed)
    back = cosines(right, chance_left, 1, signed=signed)
    partner, chance_partner = partners(found), partners(chance)
    size = np.abs if signed else np.asarray
    return Measured(
        best={"a": found.left.latent[:, 0], "b": found.right.latent[:, 0]},
        value={"a": found.left.value[:, 0].astype(float), "b": found.right.value[:, 0].astype(float)},
        null={"a": chance.left.value[:, 0].astype(float), "b": back.left.value[:, 0].astype(float)},
        partner=partner,
        matched=size(pair_cosines(left, right, partner)),
        matched_null=size(pair_cosines(left, chance_right, chance_partner)),
        mutual=mutual(found),
        mutual_null=mutual(chance),
        null_words=COVARIANCE,
    )


def _common(a: Compares, b: Compares, config: CompareConfig) -> tuple[Common, Common] | str:
    """The activations of both on the tokens that both counted, or why these are not compared."""
    if a.features.corpus.id != b.features.corpus.id:
        return NO_TEXT
    ranks = common_ranks(a.features, b.features, config.n_tokens)
    found = [Common.of(columns(one.features, ranks), config.least_active) for one in (a, b)]
    return (found[0], found[1]) if all(len(one.kept) for one in found) else TOO_RARE


def _nothing_common(a: Compares, b: Compares, missing: Mapping[Measure, str]) -> UserError:
    return UserError(
        f"Runs {a.run!r} and {b.run!r} have nothing by which they could be compared: {'; '.join(missing.values())}.",
        "two runs that read one place of one model, or one text",
        "index both on the same text.",
    )


def _summary(
    both: tuple[Compares, Compares],
    measured: Mapping[Measure, Measured],
    missing: dict[Measure, str],
    common: tuple[Common, Common] | None,
    found: Activations | None,
) -> Comparison:
    n_tokens = common[0].columns.shape[1] if common else 0
    sides = [
        SideSummary(
            run=one.run,
            index=one.features.id,
            site=_site(one.features),
            n_latents=one.features.d_sae,
            n_rare=one.features.d_sae - len(common[place].kept) if common else 0,
            n_split=int(found.split[side].split.sum()) if found else None,
        )
        for place, (side, one) in enumerate(zip(_SIDES, both, strict=True))
    ]
    where = f"over {n_tokens:,} tokens that both indexes counted"
    return Comparison(
        a=sides[0],
        b=sides[1],
        n_tokens=n_tokens,
        measures={name: one.summary() for name, one in measured.items()},
        missing=missing,
        figures=comparison_figures(measured, found.split if found else {}, where),
    )


_SIDES: tuple[Side, Side] = ("a", "b")


def _site(features: FeatureIndex) -> str:
    """Where an index reads, in words."""
    reads, writes = ("+".join(map(str, one)) for one in (features.sites.hooks, features.sites.written))
    return reads if reads == writes else f"{reads} → {writes}"


def _tables(
    both: tuple[Compares, Compares],
    measured: Mapping[Measure, Measured],
    common: tuple[Common, Common] | None,
    found: Activations | None,
) -> dict[str, pa.Table]:
    """By name, the tables of both sides' latents and of their parts."""
    tables: dict[str, pa.Table] = {}
    for place, (side, one) in enumerate(zip(_SIDES, both, strict=True)):
        d_sae = one.features.d_sae
        active = n_active(common[place].columns) if common else one.features.table["n_active"]
        own = {"latent": np.arange(d_sae, dtype=np.int32), "n_active": active.astype(np.int64)}
        if found:
            covered = found.covering[side]
            own |= {"covered": covered.covered, "n_parts": covered.n_parts, "split": covered.split}
        for name, values in measured.items():
            own |= _of_measure(name, values, side, d_sae)
        tables[f"latents-{side}"] = pa.table(own)
        parts = found.parts[side] if found else None
        tables[f"parts-{side}"] = pa.table(
            {
                "latent": (parts.whole if parts else np.zeros(0)).astype(np.int32),
                "part": (parts.part if parts else np.zeros(0)).astype(np.int32),
                "share": (parts.share if parts else np.zeros(0)).astype(np.float32),
                "inside": (parts.inside if parts else np.zeros(0)).astype(np.float32),
            }
        )
    return tables


def _of_measure(name: str, found: Measured, side: Side, d_sae: int) -> dict[str, NDArray]:
    partner, matched = found.partner, found.matched
    if side == "b":
        there = np.flatnonzero(found.partner >= 0)
        partner, matched = np.full(d_sae, -1, dtype=np.int64), np.full(d_sae, np.nan)
        partner[found.partner[there]], matched[found.partner[there]] = there, found.matched[there]
    return {
        f"{name}_best": found.best[side].astype(np.int32),
        name: found.value[side].astype(np.float32),
        f"{name}_null": found.null[side].astype(np.float32),
        f"{name}_partner": partner.astype(np.int32),
        f"{name}_matched": matched.astype(np.float32),
    }
