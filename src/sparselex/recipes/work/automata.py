"""Look for finite-state automata in a run's index."""

from sparselex.atlas.automata.config import AutomataConfig
from sparselex.atlas.automata.walk import find_automata
from sparselex.evaluate.report import write_report
from sparselex.recipes.run import Run
from sparselex.recipes.stages.automata import FindAutomata


def automata_run(run: Run, stage: FindAutomata) -> None:
    """Automata of the run's latents; a report that is there already takes the figures up."""
    index = run.index
    find_automata(index, stage.part(AutomataConfig), run.folder / FindAutomata.makes, {"index": index.id})
    run.keep_options(stage)
    if run.workspace.report.exists():
        write_report(run.workspace)
