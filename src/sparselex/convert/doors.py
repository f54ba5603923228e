"""Other people's dictionaries: read into our types, written from them. Names and transposes of other projects live in
this room; SAELens's, whose layout our own files have as well, also in `dictionaries.files`.

Ours throughout: `pre = (x - b_dec) @ W_enc + b_enc` with `W_enc [d_in, d_sae]`, `x_hat = acts @ W_dec + b_dec` with
`W_dec [d_sae, d_in]`, a JumpReLU threshold compared with `pre * |decoder row|`; a transcoder subtracts nothing, writes
`d_out` and may add `x @ W_skip.T`. What is read is folded, so that decoder rows have unit norm. One file for each
project, and one for our own; the tables of them are `FORMATS` and `LAYOUTS`.
"""

import os
import shutil
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import torch
from huggingface_hub import snapshot_download
from pydantic import ValidationError

from sparselex.base.config import first_complaint
from sparselex.base.errors import UserError
from sparselex.base.files import flush_all
from sparselex.base.sites import Hook, Sites
from sparselex.convert.formats import Files, Format, Found
from sparselex.convert.table import FORMATS, LAYOUTS
from sparselex.dictionaries.trainable import TrainableDictionary

_N_TOKENS, _SCALES = 8, (1, 100)
"""Tokens that every dictionary has to code without overflow, as large as those of models are or larger."""

_LONGEST = 300
"""Characters of another library's message that are shown."""


class Imported(NamedTuple):
    """A dictionary that was read, and what its files say of where it belongs; empty where they say nothing."""

    dictionary: TrainableDictionary
    format: str
    """One of `FORMATS`."""

    model_name: str
    hooks: tuple[Hook, ...]
    """What it reads, several for a crosscoder."""

    target: tuple[Hook, ...] = ()
    """What a transcoder writes."""

    said: str = ""
    """A place by a name that is no hook of ours: a person has to say which one it is."""


def import_dictionary(source: Path | str, *, transcoder: bool = False) -> Imported:
    """Read a dictionary of another project.

    Args:
        source: a local folder or file, or a Hugging Face repository (`owner/name` or `owner/name:sub/folder`,
            downloaded).
        transcoder: whether it writes another site than it reads, for files that do not say so themselves (Gemma Scope).

    Pickles are opened with `weights_only`, arrays without pickles: nothing from outside is executed. Raises `UserError`
    for files of no known format, an architecture we do not have, missing or misshapen tensors, damaged files, and
    numbers that are not finite.
    """
    name, files = _recognise(_local(str(source)), str(source))
    try:
        found: Found = FORMATS.get(name).read(files._replace(transcoder=transcoder))
        dictionary = found.dictionary
        if not found.is_folded:
            dictionary.fold([1.0] * len(dictionary.parts_in), [1.0] * len(dictionary.parts_out))
        dictionary.eval().requires_grad_(False)
        overflow = _overflow(dictionary)
    # A field of another kind than its project writes, or sizes that nothing can be made of.
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"{files.folder} cannot be read as a dictionary of {name}: {_in_one_line(error)}.",
            "a configuration as its project writes it",
            "fetch it again.",
        ) from None
    if overflow:
        raise UserError(
            f"{files.folder} cannot be read as a dictionary: {overflow}.",
            "weights of a size that float32 can square",
            "fetch it again, or scale the weights down.",
        )
    return Imported(dictionary, name, found.model_name, found.hooks, found.target, found.said)


def export_dictionary(
    dictionary: TrainableDictionary, to: Path | str, layout: str, *, model_name: str = "", sites: Sites | None = None
) -> None:
    """Write a folded dictionary to the new folder `to` in another project's layout, one of `LAYOUTS`.

    `sites` is where it reads, and what a transcoder writes. Raises `UserError` for an existing folder, an unknown
    layout, and a dictionary that the layout cannot hold.
    """
    to, write = Path(to).absolute(), LAYOUTS.get(layout)
    if to.exists():
        raise UserError(f"{to} exists.", "a new folder", "choose another folder.")
    aside = to.with_name(f".{to.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        write(dictionary, aside, model_name, sites)
        # The name is not waited for: killed between the two, this would find its own export in its way.
        flush_all(aside)
        os.rename(aside, to)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@torch.no_grad()
def _overflow(dictionary: TrainableDictionary) -> str | None:
    """What of a folded dictionary is larger than the largest number that there is, or None: of weights near it, rows
    and their lengths may be none any more, and so may what they give."""
    for name, value in dictionary.state_dict().items():
        if not torch.isfinite(value).all():
            return f"{name} overflows at unit length of its rows"
    tokens = torch.randn(_N_TOKENS, dictionary.d_in, generator=torch.Generator().manual_seed(0))
    for scale in _SCALES:
        codes = dictionary.encode_sparse(scale * tokens)
        for what, value in (
            ("codes", codes.values),
            ("reconstructions", dictionary.reconstruct(scale * tokens, codes)),
        ):
            if not torch.isfinite(value).all():
                return f"its {what} of tokens with entries of size {scale} overflow"
    return None


def _in_one_line(error: Exception) -> str:
    """The first thing that an error says; of some kinds it is a page."""
    said = first_complaint(error) if isinstance(error, ValidationError) else str(error)
    return (said.splitlines() or [type(error).__name__])[0][:_LONGEST]


def _recognise(path: Path, source: str) -> tuple[str, Files]:
    """The format of a folder, or of the folder that a file lies in, and its weights."""
    folder, formats = path if path.is_dir() else path.parent, dict[str, Format](FORMATS.items())
    fits = [name for name, form in formats.items() if all(_matches(folder, mark) for mark in form.marks)]
    fits = [name for name in fits if not formats[name].last] or fits
    if path.is_file():
        fits = [name for name in fits if any(fnmatch(path.name, mark) for mark in formats[name].marks)]
    if not fits:
        raise _unknown_file(path, formats) if path.is_file() else _unknown_folder(source, formats)
    mark = formats[fits[0]].marks[-1]
    weights = [path] if path.is_file() and fnmatch(path.name, mark) else _matches(folder, mark)
    if len(weights) > 1:
        raise UserError(f"{folder} holds {len(weights)} dictionaries.", "one", f"give the file, such as {weights[0]}.")
    return fits[0], Files(folder, weights[0])


def _unknown_file(path: Path, formats: Mapping[str, Format]) -> UserError:
    marks = sorted({mark for form in formats.values() for mark in form.marks})
    return UserError(
        f"{path} is not a file we know by its name and its neighbours.",
        "one of " + ", ".join(marks),
        "give the folder, or rename the file you mean (a checkpoint beside it would be another dictionary).",
    )


def _unknown_folder(source: str, formats: Mapping[str, Format]) -> UserError:
    known = "; ".join(f"{name}: {' and '.join(form.marks)}" for name, form in formats.items())
    return UserError(
        f"{source} holds no dictionary in a format we know.", known, "give the folder that holds these files."
    )


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
    beside = [str(PurePosixPath(inside).parent / name) for name in ("config.yaml", "config.json", "cfg.json")]
    return [inside, f"{inside}/*", *beside]
