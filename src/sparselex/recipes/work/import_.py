"""Take a dictionary of another project as a run's, in place of training one."""

from typing import Any

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.staging import stage as staged
from sparselex.convert.doors import Imported, import_dictionary
from sparselex.dictionaries.files import write_dictionary
from sparselex.dictionaries.table import AnyDictionaryConfig
from sparselex.dictionaries.trainable import TrainableDictionary
from sparselex.recipes.run import Run
from sparselex.recipes.stages.import_ import Import


class ImportConfig(Config):
    """Where an imported dictionary came from."""

    source: str
    """Folder, file or Hugging Face name, as it was given."""

    format: str
    """The format it was in."""

    dictionary: AnyDictionaryConfig
    """The type it became, and its size; what its project says of training is not kept."""


def import_run(run: Run, stage: Import) -> None:
    """Read the dictionary, check it against the run's sites, and write it as the run's.

    Where the run names no hook, or no target of a transcoder, it takes those that the files name. Raises `UserError`
    for what `convert.import_dictionary` refuses, for a dictionary of other widths than the hooks', for a transcoder
    whose target nobody names, and for a target where the dictionary is an autoencoder.
    """
    read = import_dictionary(stage.source, transcoder=run.config.target is not None)
    if read.said and run.config.hook is None:
        raise UserError(
            f"The files name a place {read.said!r}, which is no name of a hook here.",
            "the hook that the dictionary reads",
            "name it with --hook; `sparselex hooks MODEL` lists those of a model.",
        )
    before = run.config
    run.read_at(before.hook or "+".join(read.hooks) or None, before.target or "+".join(read.target) or None)
    try:
        check_sites(run, read.dictionary)
    except UserError:
        run.read_at(before.hook, before.target)
        raise
    corpus = run.corpus
    run.keep(stage)
    inputs = {"model": run.model.id, "corpus": corpus.id, **run.sites.names()}
    with staged(run.folder / Import.makes, "dictionary", _config(stage, read), inputs) as staging:
        if staging.made:
            return
        write_dictionary(read.dictionary, staging.folder, model_name=run.config.model.name, sites=run.sites)
        staging.finish({"named": {"hook": "+".join(read.hooks), "target": "+".join(read.target)}})


def _config(stage: Import, read: Imported) -> ImportConfig:
    values: dict[str, Any] = {
        "source": stage.source,
        "format": read.format,
        "dictionary": read.dictionary.config.to_json(),
    }
    return ImportConfig.parse(values)


def check_sites(run: Run, dictionary: TrainableDictionary) -> None:
    """Raise `UserError` unless `dictionary` reads what the run's hooks give and writes what its target takes."""
    if not dictionary.is_autoencoder and run.config.hook is None:  # the default is no place for a transcoder
        raise UserError(
            "The dictionary is a transcoder, and its files do not say which hook it reads.",
            "a hook and a target",
            "name them with --hook and --target.",
        )
    widths, sites = [place.width for place in run.model.places(run.sites.hooks)], run.sites.names()
    dictionary.check_width(sum(widths), f"Hook {sites['hook']}")
    if len(dictionary.parts_in) > 1 and tuple(widths) != dictionary.parts_in:
        raise UserError(
            f"Hook {sites['hook']} has sites of widths {list(widths)}, and the dictionary reads "
            f"{list(dictionary.parts_in)}.",
            f"{len(dictionary.parts_in)} sites of these widths",
            "name them with --hook, joined by +; or a --second-model.",
        )
    if dictionary.is_autoencoder and run.sites.target:
        raise UserError(
            f"A target was named ({sites['target']}), and the dictionary reconstructs its own input.",
            "no target, or a transcoder",
            "leave --target out.",
        )
    if not dictionary.is_autoencoder:
        _check_target(run, dictionary)


def _check_target(run: Run, dictionary: TrainableDictionary) -> None:
    if not run.sites.target:
        raise UserError(
            "The dictionary is a transcoder, and its files do not say which hook it reconstructs.",
            "a target",
            "name it with --target.",
        )
    if (width := sum(run.model.widths(run.sites.target))) != dictionary.d_out:
        raise UserError(
            f"Hook {run.sites.names()['target']} has width {width}, and the dictionary writes width "
            f"{dictionary.d_out}.",
            f"a target of width {dictionary.d_out}",
            "name the hook that the transcoder was trained to reconstruct, with --target.",
        )
