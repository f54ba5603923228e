"""`sweep`: activations in, many dictionaries and their Pareto report out."""

from typing import Annotated, Any

from pydantic import Field

from sparselex.activations.config import Prefetch
from sparselex.atlas.records import SWEEP, SweepReport
from sparselex.base.artifacts import record_of
from sparselex.base.bounds import Amount, Count, Expansion, LastShare, Seed, Tokens
from sparselex.dictionaries.kinds import Finish, Kind, SelectionDtype
from sparselex.recipes.choice import Recipe
from sparselex.recipes.option import Option
from sparselex.recipes.stage import Stage

SWEPT = "swept"
"""Folder of a run that holds the dictionaries of its sweeps, for later ones and `use` to take up."""


class Sweep(Stage):
    """Train every combination of types, widths, sparsities and seeds from one reading of the activations, and compare
    them.

    All see the same batches in the same order. Values that only some types have go to those that take them.
    """

    verb = "sweep"
    reads = ("activations",)
    makes = "sweep"
    work = "sparselex.recipes.work.sweep:sweep_run"
    gives = "sparselex.recipes.stages.sweep:sweep_of"

    kinds: Annotated[tuple[Kind, ...], Field(min_length=1), Option("--kind")] = ("batchtopk",)
    """Type of dictionary; may be repeated, as the next five."""

    expansions: Annotated[tuple[Expansion, ...], Field(min_length=1), Option("--expansion")] = (8.0,)
    """Latents per dimension of the activations."""

    ks: Annotated[tuple[Count, ...], Option("--k")] = ()
    """Latents kept per token, or aimed at, for the types that have such a number. Left out, 16, 32 and 64."""

    l1s: Annotated[tuple[Amount, ...], Option("--l1")] = ()
    """Weight of the penalty, for the types that have one. Left out, the default of each."""

    seeds: Annotated[tuple[Seed, ...], Field(min_length=1), Option("--seed")] = (0,)
    """Seed of the weights; with two or more the report has a table of stability."""

    hooks: Annotated[tuple[str, ...], Option("--hook")] = ()
    """Where to read the model. Left out, the run's own hook."""

    n_tokens: Annotated[Tokens | None, Option("--tokens")] = None
    """Tokens to train on. Left out, one pass over the training documents."""

    selection: SelectionDtype | None = None
    """Precision in which latents are chosen, for the types that choose. Left out, the fastest on this machine."""

    finish: Finish = "nothing"
    """What the last tokens are trained on: `kl`, half on reconstruction and half on what the model's predictions lose
    by it, at the same L0; `e2e`: on the latter alone; `downstream`: half on the latter and half on the error of the
    residual streams behind the site; `attribution`: on few latents that matter by the gradient of the loss;
    `influence`: latents are chosen by it too."""

    finish_share: LastShare = 0.1
    """Share of the tokens that the finish takes, where there is one."""

    recipe: Recipe = "ours"
    """Where everything comes from that is not chosen: `ours`, or `2023`, that of Towards Monosemanticity scaled down by
    ratio (relu); `l1` is then the paper's coefficient."""

    options: Annotated[dict[str, Any], Option("--option", pairs=True)] = Field(default_factory=dict)
    """Another field of the types' configurations; may be repeated; each goes to the types that have it."""

    prefetch: Annotated[Prefetch, Option(in_passing=True)] = 0
    """Blocks of activations that a process of their own reads ahead; the result is the same."""

    n_rows: Annotated[Count, Option("--rows")] = 200
    """Rows of test documents on which all are measured."""

    moment_rows: Count = 4096
    """Rows of the training split from which mean and principal components are taken."""

    def shown(self, run: Any) -> SweepReport:
        return sweep_of(run)

    def line(self, run: Any, shown: SweepReport) -> str:
        trained = sum(row.failure is None for row in shown.rows)
        return f"{trained:,} dictionaries, in {run.folder / SWEPT}; the report is {run.folder / self.makes / SWEEP}"


def sweep_of(run: Any) -> SweepReport:
    """The report of a run's last sweep."""
    run.manifest(Sweep.makes)
    return record_of(SweepReport, run.folder / Sweep.makes, SWEEP)
