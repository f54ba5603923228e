"""Write a run's dictionary or its features in another project's layout; for a dictionary the language model is not
needed."""

from sparselex.convert.doors import export_dictionary
from sparselex.dictionaries.files import load_dictionary
from sparselex.recipes.run import Run
from sparselex.recipes.stages.export import FEATURE_LAYOUTS, Export


def export_run(run: Run, stage: Export) -> None:
    """Write the run's dictionary or features to a new folder. Raises `UserError` like `convert.export_dictionary` and
    `dashboards.writing`, and for an option that the layout does not use."""
    stage.check_used()
    if FEATURE_LAYOUTS.holds(stage.layout):
        FEATURE_LAYOUTS.get(stage.layout)(run, stage)
        return
    run.manifest("dictionary")
    card = run.workspace.card(run.name)
    dictionary = load_dictionary(run.folder / "dictionary")
    export_dictionary(dictionary, stage.to, stage.layout, model_name=card.model, sites=card.sites)
