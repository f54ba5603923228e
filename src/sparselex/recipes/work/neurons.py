"""Hold the latents of a run against neurons."""

from sparselex.atlas.neurons.config import NeuronsConfig
from sparselex.atlas.neurons.walk import against_neurons
from sparselex.evaluate.report import write_report
from sparselex.recipes.run import Run
from sparselex.recipes.stages.neurons import AgainstNeurons


def neurons_run(run: Run, stage: AgainstNeurons) -> None:
    """The run's latents beside random directions; a report that is there already takes the figures up."""
    inputs = {"dictionary": run.manifest("dictionary").id, "index": run.index.id}
    rows = run.dictionary.directions().float().cpu().numpy()
    same, to = run.sites.written == run.sites.hooks, run.folder / AgainstNeurons.makes
    against_neurons(run.index, rows, stage.part(NeuronsConfig), to, inputs, same_space=same)
    run.keep_options(stage)
    if run.workspace.report.exists():
        write_report(run.workspace)
