"""Rank dictionary types where the truth is known: the walk from a set of known features to a table with controls."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from sparselex.activations.known.config import KnownConfig
from sparselex.activations.known.source import KnownFeatures
from sparselex.base.errors import UserError
from sparselex.base.figures import Failure, Figure, Figures
from sparselex.base.files import write_json
from sparselex.base.progress import progress
from sparselex.base.seeds import derive
from sparselex.base.staging import finished, stage
from sparselex.base.workspace import Workspace
from sparselex.dictionaries.controls.basis import Basis, pursued
from sparselex.dictionaries.controls.rows import covariance_matched_rows, random_rows
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.evaluate.synthetic.config import SyntheticConfig
from sparselex.evaluate.synthetic.figures import PREFIX, figures, value_of, values_of
from sparselex.evaluate.synthetic.formulas import FORMULAS
from sparselex.evaluate.synthetic.measured import HeldOut, Measured, held_out, measure
from sparselex.evaluate.synthetic.ranking import concordance_figure
from sparselex.evaluate.synthetic.records import (
    HEADLINE,
    KIND,
    RANKING,
    SyntheticReport,
    TypeRow,
    ranking_of,
    synthetic_folder,
)
from sparselex.evaluate.synthetic.trained import kinds_of, train_type

_PURSUIT_STEPS = 8

_AGREE_ON = (HEADLINE, "matched_cosine")
"""Measures whose orders are compared between seeds."""


def rank_types(
    workspace: Workspace, name: str = "main", config: SyntheticConfig | None = None, *, replace: bool = False
) -> SyntheticReport:
    """Train every type on a set of known features, measure each against them, and rank them by mean F1.

    All of it lies under `synthetic/<name>` of the workspace; killed at any moment and called again, it goes on with the
    dictionary that it was at. Raises `UserError` for a set of that name with another configuration, unless it is to be
    `replace`d, and for a type that cannot be an autoencoder of one site.
    """
    config, to = config or SyntheticConfig(), synthetic_folder(workspace, name)
    kinds = kinds_of(config)
    _check_replaced(to, name, config, replace=replace)
    with stage(to / "ranking", KIND, config, {}, resumes=True) as staging:
        if staging.made:
            return ranking_of(to)
        report = _ranked(name, config, kinds, to / "dictionaries")
        write_json(staging.folder / RANKING, report.to_json())
        rows = {row.kind: list(row.figures.values()) for row in (report.oracle, *report.controls)}
        best = report.types[0].figures.values() if report.types else ()
        Figures(figures=[*best, *report.concordance.values()], controls=rows).write(staging.folder)
        staging.finish(files=dict.fromkeys([RANKING, "figures.json"]))
    return report


def _ranked(name: str, config: SyntheticConfig, kinds: Sequence[str], to: Path) -> SyntheticReport:
    held = held_out(KnownFeatures(config.part(KnownConfig), config.sample_tokens), config.n_samples)
    with progress("controls", 3, "dictionaries") as bar:
        oracle = _oracle(held, config.active)
        bar.advance(1)
        controls = {}
        for control, dictionary in _control_dictionaries(held, config).items():
            controls[control] = measure(dictionary, held)
            bar.advance(1)
    others = {"oracle": values_of(oracle)} | {control: values_of(one) for control, one in controls.items()}
    rows, values = list[TypeRow](), dict[str, list[Measured]]()
    for kind in kinds:
        trained = train_type(kind, config, held, to)
        values[kind] = [measure(one, held) for one in trained.dictionaries if isinstance(one, Dictionary)]
        rows.append(_row(kind, trained.coefficient, trained.dictionaries, values[kind], others))
    recoverable = others["oracle"][HEADLINE] >= config.least_oracle
    return SyntheticReport(
        name=name,
        n_features=config.n_features,
        n_seen=held.n_seen,
        n_held_out=held.n_tokens,
        n_tokens=config.n_tokens,
        d_in=config.d_in,
        d_sae=config.d_sae,
        l0=config.l0,
        recoverable=recoverable,
        least_oracle=config.least_oracle,
        types=sorted(rows, key=_rank if recoverable else lambda row: row.kind),
        oracle=_row("oracle", "true L0", [], [oracle], {"random": others["random"]}),
        controls=[_row(one, f"k={config.active}", [], [found], {}) for one, found in controls.items()],
        concordance=_concordances(values, config) if recoverable else {},
    )


@torch.no_grad()
def _oracle(held: HeldOut, k: int) -> Measured:
    """The true directions: whether the features can be found at all by who knows them, with as many in each token as
    there are."""
    source = held.source
    dictionary = pursued("oracle", source.directions, source.bias, k, n_steps=_PURSUIT_STEPS)

    def encode(sample):
        n_active = np.bincount(sample.truth.rows, minlength=len(sample.x))
        return dictionary.encode_as_sparse(sample.x, torch.from_numpy(n_active))

    return measure(dictionary, held, encode)


def _control_dictionaries(held: HeldOut, config: SyntheticConfig) -> dict[str, Basis]:
    """Random directions, and directions drawn with the covariance of the activations."""
    x = torch.cat([sample.x for sample in held.samples])
    mean, covariance = x.mean(0), torch.cov(x.double().T).to(x.dtype)
    draws = lambda name: torch.Generator().manual_seed(derive(config.seed, name))
    d_sae, k = config.d_sae, min(config.active, config.d_sae, config.d_in)
    return {
        "random": random_rows(mean, d_sae, k, draws("random"), n_steps=_PURSUIT_STEPS),
        "covariance": covariance_matched_rows(mean, covariance, d_sae, k, draws("covariance"), n_steps=_PURSUIT_STEPS),
    }


def _row(
    kind: str,
    coefficient: str,
    tried: Sequence[Dictionary | UserError],
    found: Sequence[Measured],
    others: Mapping[str, Mapping[str, float]],
) -> TypeRow:
    """One line of the table; where no dictionary could be trained, every figure is that failure."""
    failed = [one for one in tried if isinstance(one, UserError)]
    failures = [Failure(subject=f"{kind}, {len(failed)} of {len(tried)} seeds", reason=one.given) for one in failed[:1]]
    controls = {
        name: {other: values[name] for other, values in others.items() if name in values and other != "random"}
        for name in FORMULAS
    }
    shown = (
        figures(found, nulls=others.get("random", {}), controls=controls)
        if found
        else {name: _failed(name, failures) for name in FORMULAS}
    )
    by_seed = [value_of(one, HEADLINE) for one in found]
    return TypeRow(
        kind=kind, coefficient=coefficient, n_seeds=len(found), figures=shown, by_seed=by_seed, failures=failures
    )


def _failed(name: str, failures: Sequence[Failure]) -> Figure:
    reason = failures[0].reason if failures else "no dictionary was trained"
    return Figure(name=f"{PREFIX}{name}", definition=FORMULAS[name].words, failure=reason)


def _rank(row: TypeRow) -> tuple[float, str]:
    value = row.figures[HEADLINE].value
    return (-value if value is not None else 1.0, row.kind)


def _concordances(values: Mapping[str, Sequence[Measured]], config: SyntheticConfig) -> dict[str, Figure]:
    """How far seeds agree on the order of the types that have all of them."""
    whole = {kind: found for kind, found in values.items() if len(found) == config.n_seeds}
    return {
        measure_: concordance_figure(
            f"{PREFIX}concordance/{measure_}",
            {kind: [value_of(one, measure_) for one in found] for kind, found in whole.items()},
            measure_.replace("_", " "),
        )
        for measure_ in _AGREE_ON
    }


def _check_replaced(to: Path, name: str, config: SyntheticConfig, *, replace: bool) -> None:
    """Raise `UserError` where another ranking would be lost."""
    there = to / "ranking" / "manifest.json"
    if replace or not there.is_file() or finished(to / "ranking", KIND, config, {}):
        return
    raise UserError(
        f"The set {name!r} is there already, with another configuration.",
        "a name for each set",
        "give another --name, the options that it was made with, or --replace.",
    )
