"""Two dictionaries around an MLP, trained together so that few latents before it move any latent behind it. PyTorch is
loaded when that is asked for, and not with this file."""

from typing import Annotated

from pydantic import Field, FiniteFloat

from sparselex.base.bounds import Count, Seed, Tokens
from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.registry import found
from sparselex.base.runs import RunName
from sparselex.base.workspace import Workspace
from sparselex.evaluate.pairs.records import PairCard, pair_card
from sparselex.recipes.folder import RunFolder
from sparselex.recipes.option import Option

_WORK = "sparselex.recipes.work.pairs:train_pair_runs"


class PairOptions(Config):
    """Train two dictionaries around an MLP together, so that few latents before it move any latent behind it (Jacobian
    SAEs), and say what that costs.

    Types, sizes and text are those of two runs, the one at what the MLP reads and the one at what it writes; both are
    trained from the beginning. What comes of it are two runs like any other. The same is done without the penalty, and
    both on the model with weights drawn anew. Given again, the command goes on where it was stopped."""

    into: RunName
    """The run that reads what the MLP writes, where --run is the one that reads what it reads."""

    weight: Annotated[FiniteFloat, Field(gt=0, le=10**6)] = 1.0
    """Weight of the mean size of the Jacobian's entries, beside the mean squared errors of both dictionaries."""

    n_tokens: Annotated[Tokens | None, Option("--tokens")] = None
    """Tokens that each of the pairs is trained on. Left out, as many as there are to train on."""

    every: Count = 4
    """The penalty looks at every n-th token."""

    rows: Annotated[int, Field(ge=1, le=10**5)] = 256
    """Rows of test documents that all figures are over."""

    name: RunName = "jacobian"
    """What it is called: the runs that come of it are RUN-NAME and INTO-NAME."""

    seed: Seed = 0
    """Seed of the weights, the order of the data and all that is drawn."""


class CardConfig(Config):
    """What the figures of a pair were measured on."""

    rows: int
    """Rows of test documents."""

    seed: Seed
    """Seed of what is drawn."""

    weight: float
    """Weight of the penalty."""


def made_names(run: str, options: PairOptions) -> tuple[str, str]:
    """Names of the runs that come of it."""
    return f"{run}-{options.name}", f"{options.into}-{options.name}"


def pair_runs(workspace: Workspace, run: str, options: PairOptions, *, replace: bool = False) -> PairCard:
    """Train two dictionaries around an MLP together, and leave two runs and a card; what is done is not done again.

    Args:
        run: the run that reads what the MLP reads; `options.into` the one that reads what it writes.
        replace: whether a pair of other settings, and the runs that came of it, may be replaced.

    Raises `UserError`, before anything is trained, for runs that there are not, that have no dictionary, or read
    different models or text; for sites that are not those around one MLP; for a model whose MLP is not at hand as
    matrices; for types without a fixed number of active latents; and where other runs have the names.
    """
    if run == options.into:
        raise UserError(
            f"Run {run!r} was to be trained together with itself.",
            "two runs: one at what the MLP reads, one at what it writes",
            "name another run by --into.",
        )
    for name in (run, options.into):
        RunFolder.open(workspace, name).manifest("dictionary")
    found(_WORK)(workspace, run, options, replace=replace)
    return pair_card(workspace, made_names(run, options)[0])
