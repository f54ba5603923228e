"""Other people's dictionaries: read into our types, written from them. Names and transposes of other projects live here
and nowhere else.

Ours throughout: `pre = (x - b_dec) @ W_enc + b_enc` with `W_enc [d_in, d_sae]`, `x_hat = acts @ W_dec + b_dec` with
`W_dec [d_sae, d_in]`, a JumpReLU threshold compared with `pre * |decoder row|`; a transcoder subtracts nothing, writes
`d_out` and may add `x @ W_skip.T`. What is read is folded, so that decoder rows have unit norm. One file for each
project; the table of them is `FORMATS`.
"""

import os
import shutil
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from huggingface_hub import snapshot_download

from sparselex.base.errors import UserError
from sparselex.convert.circuit_tracer import (
    CONFIG,
    read_circuit_tracer,
    read_circuit_tracer_clt,
    write_circuit_tracer,
)
from sparselex.convert.crosscoder_learning import read_crosscoder_learning
from sparselex.convert.dictionary_learning import read_dictionary_learning
from sparselex.convert.gemma_scope import read_gemma_scope, read_gemma_scope_2
from sparselex.convert.llama_scope import read_llama_scope, read_llamascopium
from sparselex.convert.openai import read_openai
from sparselex.convert.saelens import read_saelens, write_saelens
from sparselex.convert.sparsify import read_sparsify, write_sparsify
from sparselex.convert.weights import Found, Source
from sparselex.dictionaries.dictionary import TrainableDictionary
from sparselex.dictionaries.files import SAELENS_CONFIG, WEIGHTS

__all__ = ["FORMATS", "WRITERS", "Format", "Imported", "export_dictionary", "import_dictionary"]


class Imported(NamedTuple):
    """A dictionary that was read, and what its files say of where it belongs."""

    dictionary: TrainableDictionary
    format: str
    """One of `FORMATS`."""
    model_name: str
    """Empty where the files do not say."""
    hook: str
    """Empty where the files do not say."""
    target: str = ""
    """The hook that a transcoder writes; empty for an autoencoder, and where the files do not say."""


class Format(NamedTuple):
    """How one project's files are told and read."""

    marks: tuple[str, ...]
    """Patterns of the files that a folder of this format has; the last one holds the weights."""

    read: Callable[[Source], Found]

    last: bool = False
    """Whether it is taken only where no other format fits, its marks being common names."""


def import_dictionary(source: Path | str, *, transcoder: bool = False) -> Imported:
    """Read a dictionary of another project.

    Args:
        source: a local folder or file, or a Hugging Face repository (`owner/name` or `owner/name:sub/folder`,
            downloaded).
        transcoder: whether it writes another site than it reads, for files that do not say so themselves (Gemma
            Scope).

    Pickles are opened with `weights_only`, arrays without pickles: nothing from outside is executed. Raises `UserError`
    for files of no known format, an architecture we do not have, missing or misshapen tensors, damaged files, and
    numbers that are not finite.
    """
    name, place = _recognise(_local(str(source)), str(source))
    try:
        found = FORMATS[name].read(place._replace(transcoder=transcoder))
    # A field of another kind than its project writes.
    except (AttributeError, TypeError, ValueError, ArithmeticError) as error:
        raise UserError(
            f"{place.folder} cannot be read as a dictionary of {name}: {error}.",
            "a configuration as its project writes it",
            "fetch it again.",
        ) from None
    dictionary = found.dictionary
    dictionary.fold([1.0] * len(dictionary.parts_in), [1.0] * len(dictionary.parts_out))
    dictionary.eval().requires_grad_(False)
    return Imported(dictionary, name, found.model_name, found.hook, found.target)


def export_dictionary(
    dictionary: TrainableDictionary,
    to: Path | str,
    layout: str,
    *,
    model_name: str = "",
    hook: str = "",
    target: str = "",
) -> None:
    """Write a folded dictionary to the new folder `to` in another project's layout, one of `WRITERS`.

    `hook` is where it reads, `target` what a transcoder writes. Raises `UserError` for an existing folder, an unknown
    layout, and a dictionary that the layout cannot hold.
    """
    to = Path(to).absolute()
    if layout not in WRITERS:
        raise UserError(f"There is no layout {layout!r}.", "one of " + ", ".join(WRITERS), "choose another --layout.")
    if to.exists():
        raise UserError(f"{to} exists.", "a new folder", "choose another folder.")
    aside = to.with_name(f".{to.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        WRITERS[layout](dictionary, aside, model_name, hook, target)
        os.rename(aside, to)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _recognise(path: Path, source: str) -> tuple[str, Source]:
    """The format of a folder, or of the folder that a file lies in, and its weights."""
    folder = path if path.is_dir() else path.parent
    fits = [name for name, form in FORMATS.items() if all(_matches(folder, mark) for mark in form.marks)]
    fits = [name for name in fits if not FORMATS[name].last] or fits
    if path.is_file():
        fits = [name for name in fits if any(fnmatch(path.name, mark) for mark in FORMATS[name].marks)]
        if not fits:
            marks = sorted({mark for form in FORMATS.values() for mark in form.marks})
            raise UserError(
                f"{path} is not a file we know by its name and its neighbours.",
                "one of " + ", ".join(marks),
                "give the folder, or rename the file you mean (a checkpoint beside it would be another dictionary).",
            )
    if not fits:
        known = "; ".join(f"{name}: {' and '.join(form.marks)}" for name, form in FORMATS.items())
        raise UserError(
            f"{source} holds no dictionary in a format we know.", known, "give the folder that holds these files."
        )
    mark = FORMATS[fits[0]].marks[-1]
    weights = [path] if path.is_file() and fnmatch(path.name, mark) else _matches(folder, mark)
    if len(weights) > 1:
        raise UserError(f"{folder} holds {len(weights)} dictionaries.", "one", f"give the file, such as {weights[0]}.")
    return fits[0], Source(folder, weights[0])


def _matches(folder: Path, mark: str) -> list[Path]:
    return sorted(path for path in folder.glob(mark) if path.is_file())


def _local(source: str) -> Path:
    path = Path(source)
    if path.is_dir() or path.is_file():
        return path
    repository, _, inside = source.partition(":")
    if repository.count("/") != 1 or repository.startswith((".", "/")):
        raise UserError(
            f"{source} does not exist.",
            "a folder, a file, or a Hugging Face name (owner/name:sub/folder)",
            "check the path.",
        )
    try:
        root = snapshot_download(repository, allow_patterns=_wanted(inside))
    except Exception as error:  # a door: the library raises many kinds, all meaning "this cannot be fetched"
        raise UserError(
            f"{source} is no local folder, and no Hugging Face repository of that name can be read: "
            f"{str(error).splitlines()[0]}",
            "a folder, a file, or a reachable name (owner/name:sub/folder)",
            "check the spelling and the network.",
        ) from None
    return Path(root) / inside


def _wanted(inside: str) -> list[str] | None:
    """What is fetched of a repository for a folder or file inside it; None for all of it."""
    if not inside:
        return None
    # A file is told by its neighbours: the settings beside it come too.
    beside = [str(PurePosixPath(inside).parent / name) for name in (CONFIG, "config.json", SAELENS_CONFIG)]
    return [inside, f"{inside}/*", *beside]


FORMATS: dict[str, Format] = {
    "saelens": Format((SAELENS_CONFIG, WEIGHTS), read_saelens),
    "sparsify": Format((SAELENS_CONFIG, "sae.safetensors"), read_sparsify),
    "dictionary_learning": Format(("config.json", "ae.pt"), read_dictionary_learning),
    "crosscoder_learning": Format(("config.json", "model.safetensors"), read_crosscoder_learning),
    "llama_scope": Format(("hyperparams.json", "checkpoints/final.safetensors"), read_llama_scope),
    "llamascopium": Format(("config.json", "sae_weights.[ps]*"), read_llamascopium),
    "gemma_scope": Format(("params.npz",), read_gemma_scope),
    "gemma_scope_2": Format(("params.safetensors",), read_gemma_scope_2),
    "circuit-tracer": Format((CONFIG, "layer_*.safetensors"), read_circuit_tracer),
    "circuit-tracer-clt": Format(("W_dec_0.safetensors", "W_enc_0.safetensors"), read_circuit_tracer_clt),
    "openai": Format(("*.pt",), read_openai, last=True),
}
"""Formats by name, in the order in which they are tried."""

WRITERS: dict[str, Callable[[TrainableDictionary, Path, str, str, str], None]] = {
    "saelens": write_saelens,
    "sparsify": write_sparsify,
    "circuit-tracer": write_circuit_tracer,
}
"""Layouts that can be written: `(dictionary, folder, model_name, hook, target)`."""
