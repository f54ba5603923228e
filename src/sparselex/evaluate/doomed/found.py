"""Examples as they are shown: what was measured is read, and what is said of it is made anew from the figures, so that
it is by the rules that hold now. No tensors here: command line and browser read this."""

from pathlib import Path

from sparselex.base.artifacts import MANIFEST, read_manifest, record_of
from sparselex.evaluate.doomed.config import DoomedConfig
from sparselex.evaluate.doomed.records import FILE, Doomed, ExampleFound, doomed_folder
from sparselex.evaluate.doomed.verdicts import verdict


def doomed_of(workspace: Path) -> Doomed | None:
    """What was found in a workspace; None where nothing was made. Raises `UserError` where it is damaged."""
    folder = doomed_folder(workspace) / "summary"
    if not (folder / MANIFEST).is_file():
        return None
    found = record_of(Doomed, folder, FILE)
    config = DoomedConfig.parse(read_manifest(folder).config, f"the configuration of {folder}")
    return found.model_copy(update={"shortened": config.shortened, "examples": [judged(one) for one in found.examples]})


def judged(one: ExampleFound) -> ExampleFound:
    """An example with what its figures say."""
    found = verdict(one.name, one.rows, {fact.name.rpartition("/")[2]: fact for fact in one.facts})
    return one.model_copy(update={"supported": found.supported, "verdict": found.words})
