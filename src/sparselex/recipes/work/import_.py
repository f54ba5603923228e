"""Take a dictionary of another project as a run's, in place of training one."""

import logging
from typing import Any, Literal

import torch
from pydantic import Field

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.sites import Hook, hooks_of
from sparselex.base.staging import stage as staged
from sparselex.convert.doors import Imported, import_dictionary
from sparselex.convert.kinds import BareKind
from sparselex.convert.places import module_paths
from sparselex.convert.tensors import in_short
from sparselex.dictionaries.files import write_dictionary
from sparselex.dictionaries.table import AnyDictionaryConfig
from sparselex.dictionaries.trainable import TrainableDictionary
from sparselex.evaluate.moments import target_of
from sparselex.recipes.config import RunConfig
from sparselex.recipes.run import Run
from sparselex.recipes.stage import IN_LINE
from sparselex.recipes.stages.import_ import Import
from sparselex.text.splits import Split
from sparselex.training.measure import fvu

_log = logging.getLogger(__name__)

SAMPLE_ROWS, SAMPLE_TOKENS = 32, 4096
"""Rows on which an imported dictionary is tried, and as many tokens at most: enough to see that it is none for this
place."""

LONGEST = 200
"""Characters that are shown of a name out of the files."""

DENSE = 4
"""Of so many latents one at most is active on a token in any dictionary that is called sparse."""


class ImportConfig(Config):
    """Where an imported dictionary came from."""

    source: str
    """Folder, file or Hugging Face name, as it was given."""

    format: str
    """The format it was in."""

    kind: BareKind | None = None
    """The type that a person said its tensors are of."""

    options: dict[str, Any] = Field(default_factory=dict)
    """Fields of its settings that a person gave."""

    names: dict[str, str] = Field(default_factory=dict)
    """Tensors that a person named."""

    dictionary: AnyDictionaryConfig
    """The type it became, and its size; what its project says of training is not kept."""


def import_run(run: Run, stage: Import) -> None:
    """Read the dictionary, check it against the run's sites, try it on a few rows, and write it as the run's.

    Where the run names no hook, or no target of a transcoder, it takes those that the files name. Raises `UserError`
    for what `convert.import_dictionary` refuses, for a dictionary of other widths than the hooks', for places that the
    files name and the model has not, for a transcoder whose target nobody names, and for a target where the dictionary
    is an autoencoder.
    """
    given = run.config.target is not None
    read = import_dictionary(
        stage.source, transcoder=given, kind=stage.kind, options=stage.options, names=_texts(stage.names)
    )
    before = run.config
    hook, target = before.hook or _place(run, read, "hook"), before.target or _place(run, read, "target")
    run.read_at(hook, target)
    try:
        _check_named(run, read, before)
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
        sample = sample_of(run, read.dictionary)
        notes = _notes(run, read, asked=before.hook is not None)
        notes["warnings"] += _absurd(sample, read.dictionary.d_sae)
        for warning in notes["warnings"]:
            _log.warning("%s", warning, extra={IN_LINE: True})
        staging.finish(notes | {"sample": sample})


def _texts(names: dict[str, Any]) -> dict[str, str]:
    """Names of tensors as text: a person may call one by a number."""
    return {name: str(value) for name, value in names.items()}


def _place(run: Run, read: Imported, role: Literal["hook", "target"]) -> str | None:
    """Where the files say that it reads, or what it writes: a hook of ours, or the first module of the model that their
    name may mean. Raises `UserError` for a name that is neither."""
    hooks, said = (read.hooks, read.said) if role == "hook" else (read.target, read.said_target)
    if hooks or not said:
        return "+".join(hooks) or None
    for path in module_paths(said):
        try:
            run.model.width(hook := Hook(f"module:{path}"))
        except UserError:
            continue
        return hook
    raise UserError(
        f"The files name a place {in_short(said)!r}, which is no name of a hook here and no module of "
        f"{run.config.model.name}.",
        "the hook that the dictionary reads" if role == "hook" else "the hook that the transcoder writes",
        f"name it with --{role}; `sparselex hooks MODEL` lists those of a model.",
    )


def _check_named(run: Run, read: Imported, before: RunConfig) -> None:
    """Raise `UserError` where the model has no place that the files name: nobody has typed it, so no name near it is of
    any help."""
    for role, given, named in zip(("hook", "target"), (before.hook, before.target), read.named, strict=True):
        if given or not named:
            continue
        place = getattr(run.config, role)
        try:
            run.model.places(hooks_of(place))
        except UserError:
            n, model = run.model.n_layers, run.config.model.name
            here = f" ({place} here)" if place != named else ""
            told = f", and were made for the model {read.model_name[:LONGEST]!r}" if read.model_name else ""
            raise UserError(
                f"The files name the place {in_short(named)}{here}{told}; the model {model} has no such place.",
                f"a place of {model}, which has {'one layer' if n == 1 else f'layers 0 to {n - 1}'}",
                f"choose the model that the dictionary was made for (--model), or name another place with --{role}.",
            ) from None


def _notes(run: Run, read: Imported, *, asked: bool) -> dict[str, Any]:
    """What the files say, and what was assumed, left out, or is otherwise here."""
    warnings = [*read.warnings, *_other_text(run, read)]
    if not asked and not any(read.named):
        warnings.append(f"the files name no place: it is read at {'+'.join(run.sites.hooks)} (--hook for another)")
    return {
        "named": {
            role: "+".join(hooks) or (run.sites.names()[role] if said and not asked else said)
            for role, hooks, said in (("hook", read.hooks, read.said), ("target", read.target, read.said_target))
        },
        "stated": {
            name: value for name, value in {"model": read.model_name[:LONGEST], **read.stated}.items() if value != ""
        },
        "warnings": warnings,
    }


def _other_text(run: Run, read: Imported) -> list[str]:
    """In what the run's rows differ from those that the files say it was trained on."""
    told, corpus = [], run.corpus
    context, bos = read.stated.get("context_size"), read.stated.get("prepend_bos")
    if isinstance(context, int) and context != corpus.n_ctx:
        told.append(
            f"it was trained on rows of {context} tokens, and those of this run have {corpus.n_ctx} (--context)"
        )
    if isinstance(bos, bool) and bos != (corpus.bos_id is not None):
        theirs, ours = ("with", "none") if bos else ("without", "one")
        told.append(f"it was trained on rows {theirs} BOS, and those of this run have {ours}")
    return told


def sample_of(run: Run, dictionary: TrainableDictionary) -> dict[str, Any]:
    """FVU, L0 and tokens of a few rows that the run does not train on, or why they were not measured."""
    ranges = run.corpus.row_ranges
    split: Split | None = next((name for name in ("validation", "test", "train") if len(ranges[name])), None)
    if split is None:
        return {"skipped": "the text has no rows"}
    n_rows = max(1, min(SAMPLE_ROWS, SAMPLE_TOKENS // run.corpus.n_ctx))
    batches = list(run.reader.batches([split], most_rows=n_rows))
    x = torch.cat([batch.x for batch in batches])
    if not len(x):
        return {"skipped": "the rows have no text"}
    written = torch.cat([target_of(batch) for batch in batches])
    with torch.no_grad():
        codes = dictionary.encode_sparse(x)
        left = fvu(dictionary.reconstruct(x, codes), written)
    l0 = float(codes.values.count_nonzero()) / len(x)
    # Not to the last digit, which differs between machines.
    return {"fvu": float(f"{left:.4g}"), "l0": float(f"{l0:.4g}"), "n_tokens": len(x), "split": split}


def _absurd(sample: dict[str, Any], d_sae: int) -> list[str]:
    if "skipped" in sample:
        return []
    found = []
    if sample["fvu"] > 1:
        found.append(f"its reconstruction is further away than the mean is (FVU {sample['fvu']})")
    if sample["l0"] == 0:
        found.append("none of its latents is ever active (L0 0)")
    if sample["l0"] > d_sae / DENSE:
        found.append(f"more than one latent in {DENSE} is active on a token (L0 {sample['l0']} of {d_sae})")
    doubt = "another model, another place, or something assumed of the files that is not so (--kind, --option, --map)"
    return [f"{said}, on {sample['n_tokens']} tokens: {doubt}" for said in found]


def _config(stage: Import, read: Imported) -> ImportConfig:
    values: dict[str, Any] = {
        "source": stage.source,
        "format": read.format,
        "kind": stage.kind,
        "options": stage.options,
        "names": _texts(stage.names),
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
    if (width := sum(map(run.model.width, run.sites.target))) != dictionary.d_out:
        raise UserError(
            f"Hook {run.sites.names()['target']} has width {width}, and the dictionary writes width "
            f"{dictionary.d_out}.",
            f"a target of width {dictionary.d_out}",
            "name the hook that the transcoder was trained to reconstruct, with --target.",
        )
