"""Write a run's dictionary in another project's layout; the language model is not needed for that."""

from sparselex.convert.doors import export_dictionary
from sparselex.dictionaries.files import load_dictionary
from sparselex.recipes.run import Run
from sparselex.recipes.stages.export import Export


def export_run(run: Run, stage: Export) -> None:
    """Write the run's dictionary to a new folder. Raises `UserError` like `convert.export_dictionary`."""
    card = run.workspace.card(run.name)
    dictionary = load_dictionary(run.folder / "dictionary")
    export_dictionary(dictionary, stage.to, stage.layout, model_name=card.model, sites=card.sites)
