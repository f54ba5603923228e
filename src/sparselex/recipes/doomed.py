"""The examples of "Activation space interpretability may be doomed" as one run: every example is an artifact, and so is
every dictionary of it; killed at any moment and called again, it goes on behind the last that was finished."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from sparselex.base.artifacts import open_artifact, record_of
from sparselex.base.errors import UserError
from sparselex.base.figures import Figures
from sparselex.base.files import write_json
from sparselex.base.progress import progress, silent
from sparselex.base.seeds import derive
from sparselex.base.staging import finished, stage
from sparselex.base.workspace import Workspace
from sparselex.evaluate.doomed import composition, manifold, scaffolding, superposed, unused
from sparselex.evaluate.doomed.config import DoomedConfig, Example
from sparselex.evaluate.doomed.draws import Place
from sparselex.evaluate.doomed.found import doomed_of, judged
from sparselex.evaluate.doomed.records import (
    EXAMPLE,
    EXAMPLE_FILE,
    FILE,
    KIND,
    Doomed,
    ExampleFound,
    doomed_folder,
)
from sparselex.evaluate.doomed.seen import RunSeen, facts_over, rows_over
from sparselex.evaluate.doomed.words import words_of

MEASURES: dict[Example, Callable[[Place], RunSeen]] = {
    "unused": unused.measure,
    "manifold": manifold.measure,
    "composition": composition.measure,
    "scaffolding": scaffolding.measure,
    "superposed": superposed.measure,
}
"""One run of every example, in the order of the post."""


def doomed(workspace: Workspace, config: DoomedConfig | None = None, *, replace: bool = False) -> Doomed:
    """Run the examples (Chughtai and Bushnaq 2025) and keep what came out under `doomed` of the workspace.

    Raises `UserError` for examples that are there with another configuration, unless these are to be `replace`d.
    """
    config, to = config or DoomedConfig(), doomed_folder(workspace.path)
    names = [name for name in MEASURES if name in config.examples]
    alone = {name: config.model_copy(update={"examples": (name,)}) for name in names}
    if not replace:
        _check_replaced(to, alone)
    found = list[ExampleFound]()
    for name in names:
        if not replace:  # another process may have made it meanwhile
            _check_replaced(to, {name: alone[name]})
        found.append(_example(name, alone[name], to))
    inputs: dict[str, str] = {name: open_artifact(to / name, EXAMPLE).id for name in names}
    with stage(to / "summary", KIND, config, inputs) as staging:
        if not staging.made:
            report = Doomed(n_seeds=config.n_seeds, shortened=config.shortened, examples=found)
            write_json(staging.folder / FILE, report.to_json())
            every = [figure for one in found for row in one.rows for figure in row.figures.values()]
            Figures(figures=every + [figure for one in found for figure in one.facts]).write(staging.folder)
            staging.finish()
    made = doomed_of(workspace.path)
    assert made is not None
    return made


def _example(name: Example, config: DoomedConfig, to: Path) -> ExampleFound:
    """One example over all its runs."""
    with stage(to / name, EXAMPLE, config, {}) as staging:
        if staging.made:
            return judged(record_of(ExampleFound, to / name, EXAMPLE_FILE))
        runs = list[RunSeen]()
        with progress(name, config.n_seeds, "runs") as bar:
            for number in range(config.n_seeds):
                seed = derive(config.seed, "doomed", name, number)
                with _quiet(), silent():
                    runs.append(MEASURES[name](Place(config, seed, to / "dictionaries" / name / str(number))))
                bar.advance(1)
        said = words_of(name, config)
        rows = rows_over(name, runs, said.measures)
        measured = ExampleFound(
            name=name,
            title=said.title,
            claim=said.claim,
            built=said.built,
            measures=said.measures,
            drawn=said.drawn,
            rows=rows,
            facts=facts_over(name, runs, said.facts),
        )
        made = judged(measured)
        write_json(staging.folder / EXAMPLE_FILE, made.to_json())
        staging.finish()
    return made


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """While open, dead latents are not told of, one dictionary after another: how many are alive is a figure here."""
    log = logging.getLogger("sparselex.training")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _check_replaced(to: Path, alone: dict[Example, DoomedConfig]) -> None:
    """Raise `UserError` where another run of an example would be lost."""
    for name, config in alone.items():
        if (to / name / "manifest.json").is_file() and not finished(to / name, EXAMPLE, config, {}):
            raise UserError(
                f"The example {name!r} is there already, with another configuration.",
                "the options that it was made with",
                "give these, another workspace, or --replace.",
            )
