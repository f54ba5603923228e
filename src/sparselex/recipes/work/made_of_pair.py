"""Either dictionary of a pair that was trained together as a run of its own."""

from collections.abc import Sequence

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.files import flush, new_folder, put_back
from sparselex.base.locks import lock
from sparselex.base.staging import stage as staged
from sparselex.base.workspace import Workspace
from sparselex.dictionaries.files import write_dictionary
from sparselex.dictionaries.table import AnyDictionaryConfig
from sparselex.evaluate.pairs.records import PAIR
from sparselex.recipes.folder import RunFolder, stage_cards
from sparselex.recipes.run import Run
from sparselex.recipes.work.directions import nobody_writes
from sparselex.recipes.work.import_ import sample_of
from sparselex.training.pairs import TrainedPair


class OfPair(Config):
    """Of what pair a dictionary is."""

    id: str
    """Id of the pair."""

    of: str
    """The run whose type, size and text were taken."""

    side: int
    """0 before the MLP, 1 behind it."""


class MadeOfPair(Config):
    """What the dictionary of a run was made of."""

    pair: OfPair
    """The pair."""

    dictionary: AnyDictionaryConfig
    """Its type and size."""


def check_names(
    workspace: Workspace, names: Sequence[str], parents: Sequence[str], pair: str | None, *, replace: bool
) -> None:
    """Raise `UserError` where another run has one of the names that are to be given, or a run of another pair than that
    of the id `pair`, which may not be replaced; None is for one that is not trained yet."""
    for name, parent in zip(names, parents, strict=True):
        folder = workspace.run(name)
        put_back(folder)
        if name not in workspace.begun():
            if folder.exists() and any(folder.iterdir()):
                raise UserError(f"{folder} exists and is no run.", "no such folder", "move it away.")
            continue
        kept = _made(workspace, name)
        if kept is None or kept.get("of") != parent:
            raise UserError(
                f"There is a run {name!r} already, and it came of no pair of run {parent!r}.",
                "no run of that name",
                "choose another --name, or move the run to another name: its folder with run.json in it.",
            )
        if kept.get("id") != pair and not replace:
            raise UserError(
                f"Run {name!r} came of another pair of run {parent!r}.",
                "the pair that it came of, or another name",
                "give this one another --name, or add --replace.",
            )


def make_run(of: Run, name: str, pair: TrainedPair, side: int) -> None:
    """The run `name` with one dictionary of a pair, reading what `of` reads; made already, it is not made again, and
    one of another pair is replaced."""
    folder, wanted = of.workspace.run(name), OfPair(id=pair.id, of=of.name, side=side)
    is_made = lambda: name in of.workspace.begun() and _made(of.workspace, name) == wanted.to_json()
    if is_made():  # nothing is written then, not even a lock
        return
    with lock(folder.with_name(f".{name}.lock"), f"making run {name!r}"):
        if not is_made():  # what another process has just made may have an index already
            _make(of, name, pair, wanted)


def _make(of: Run, name: str, pair: TrainedPair, wanted: OfPair) -> None:
    workspace, side = of.workspace, wanted.side
    folder = workspace.run(name)
    dictionary = pair.dictionary.each[side].cpu()
    made = MadeOfPair.parse({PAIR: wanted.to_json(), "dictionary": dictionary.config.to_json()})
    card = workspace.card(of.name)
    stages = {verb: options for verb, options in of.config.stages.items() if verb in ("index", "explain")}
    told = {"name": name, "sites": of.sites, "stages": stage_cards()}
    inputs = of.inputs() | {PAIR: pair.id}
    notes = {"n_tokens": pair.n_tokens, "median_norms": of.reader.median_norms.tolist()}
    notes["sample"] = sample_of(of, dictionary)
    with nobody_writes(folder), new_folder(folder, replaces=True) as aside:
        with staged(aside / "dictionary", "dictionary", made, inputs) as staging:
            write_dictionary(dictionary, staging.folder, model_name=of.config.model.name, sites=of.sites)
            staging.finish(notes)
        workspace.keep(card.model_copy(update=told), of.config.with_stages(stages).to_json(), aside)
    flush(folder.parent)


def _made(workspace: Workspace, name: str) -> dict[str, object] | None:
    """What pair the dictionary of a run is of; None where it is of none."""
    there = RunFolder.open(workspace, name)
    return there.manifest("dictionary").config.get(PAIR) if there.has("dictionary") else None
