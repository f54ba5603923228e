"""Other people's dictionaries: read into our types, written from them. Names and transposes of other projects live in
this room; SAELens's, whose layout our own files have as well, also in `dictionaries.files`.

Ours throughout: `pre = (x - b_dec) @ W_enc + b_enc` with `W_enc [d_in, d_sae]`, `x_hat = acts @ W_dec + b_dec` with
`W_dec [d_sae, d_in]`, a JumpReLU threshold compared with `pre * |decoder row|`; a transcoder subtracts nothing, writes
`d_out` and may add `x @ W_skip.T`. What is read is folded, so that decoder rows have unit norm. One file for each
project, and one for our own; the tables of them are `FORMATS` and `LAYOUTS`.
"""

from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from reprlib import repr as shortened
from typing import Any, NamedTuple

import torch
from huggingface_hub import snapshot_download
from pydantic import ValidationError

from sparselex.base.config import first_complaint
from sparselex.base.errors import UserError, a
from sparselex.base.files import new_folder
from sparselex.base.sites import Hook, Sites
from sparselex.convert.formats import Files, Format, Found
from sparselex.convert.kinds import BareKind
from sparselex.convert.settings import NOTHING, Settings
from sparselex.convert.table import BARE_NAME, FORMATS, LAYOUTS
from sparselex.convert.tensors import AnotherFormatError
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
    """A place that it reads by a name that is no hook of ours: a model may have such a module (`places.module_paths`),
    or a person has to say which one it is."""

    said_target: str = ""
    """The same of what it writes."""

    named: tuple[str, str] = ("", "")
    """What it reads and what it writes, by the files' own names."""

    stated: Mapping[str, Any] = NOTHING
    """What the files say of the text that it was trained on: `prepend_bos`, `context_size`, `dataset`."""

    warnings: tuple[str, ...] = ()
    """What was left out, assumed, or taken otherwise than its project would take it."""


def import_dictionary(
    source: Path | str,
    *,
    transcoder: bool = False,
    kind: BareKind | None = None,
    options: Mapping[str, Any] = NOTHING,
    names: Mapping[str, str] = NOTHING,
) -> Imported:
    """Read a dictionary of another project.

    Args:
        source: a local folder or file, or a Hugging Face repository (`owner/name` or `owner/name:sub/folder`,
            downloaded).
        transcoder: whether it writes another site than it reads, for files that do not say so themselves (Gemma Scope).
        kind: the type that bare tensors are of: they are then read by themselves (`bare.read_bare`), whatever lies
            beside them.
        options: fields of the settings, by their project's names, in place of those in the files or beside them.
        names: tensors that the file calls by a name of its own: the name that is looked for, and the one in the file.

    No field and no tensor that changes numbers is left out in silence: it is used, refused, or named in `warnings`.
    Whether what was assumed is right shows on activations alone: the verb `import` measures FVU and L0 on some.
    Pickles are opened with `weights_only`, arrays without pickles: nothing from outside is executed. Raises `UserError`
    for files of no known format, an architecture we do not have, missing or misshapen tensors, damaged files, and
    numbers that are not finite.
    """
    path = _local(str(source))
    fits = [_bare(path, str(source))] if kind else _recognise(path, str(source))
    others: list[UserError] = []
    for name, folder, weights in fits:
        try:
            # Anew for each: what one reader looked at, another may not.
            given = Settings.by_person(weights, options), Settings.by_person(weights, names)
            return _read(name, Files(folder, weights, transcoder, kind, *given))
        except AnotherFormatError as error:
            others.append(error)
        except UserError as error:
            # The reason why it is not what its name says comes first: it may be that, and damaged.
            said = " ".join([*(other.given for other in others), error.given])
            raise UserError(said, error.expected, error.todo) from None
    raise others[-1]


def _read(name: str, files: Files) -> Imported:
    try:
        found: Found = FORMATS.get(name).read(files)
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
    _check_used(files, name, dictionary)
    places = found.hooks, found.target, found.said, found.said_target, found.named
    return Imported(dictionary, name, found.model_name, *places, found.stated, found.warnings)


def _check_used(files: Files, name: str, dictionary: TrainableDictionary) -> None:
    """Raise `UserError` for what a person gave and the reader had no use for: a dictionary would be another one than
    they asked for."""
    idle = [f"--option {option}={shortened(files.options.peek(option))}" for option in files.options.idle]
    idle += [f"--map {new}={shortened(files.names.peek(new))}" for new in files.names.idle]
    if idle:
        raise UserError(
            f"{idle[0]} changes nothing: {files.weights} was read as {a(type(dictionary).__name__)} of the format "
            f"{name}, which does not use it.",
            "fields and tensors that its reader uses",
            "leave it out, or say with --kind what the tensors are.",
        )
    if files.transcoder and dictionary.is_autoencoder:
        raise UserError(
            "A target was named, and the dictionary reconstructs its own input.",
            "no target, or a transcoder",
            "leave --target out.",
        )


def export_dictionary(
    dictionary: TrainableDictionary, to: Path | str, layout: str, *, model_name: str = "", sites: Sites | None = None
) -> None:
    """Write a folded dictionary to the new folder `to` in another project's layout, one of `LAYOUTS`.

    `sites` is where it reads, and what a transcoder writes. Raises `UserError` for an existing folder, an unknown
    layout, and a dictionary that the layout cannot hold.
    """
    write = LAYOUTS.get(layout)
    with new_folder(Path(to)) as folder:
        write(dictionary, folder, model_name, sites)


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


def _recognise(path: Path, source: str) -> list[tuple[str, Path, Path]]:
    """The formats that a folder fits, or the folder that a file lies in, the likeliest first, with the folder and the
    file of its weights. Those of common names come last, and where another fits only for files that turn out not to be
    what their names say."""
    folder, formats = path if path.is_dir() else path.parent, dict[str, Format](FORMATS.items())
    fits = [name for name, form in formats.items() if all(_matches(folder, mark) for mark in form.marks)]
    own = [name for name in fits if not formats[name].last] or fits
    if path.is_file():
        own = [name for name in own if any(_is_of(path, mark) for mark in formats[name].marks)]
    if not own:
        raise _unknown_file(path, formats) if path.is_file() else _unknown_folder(source, formats)
    # Given up where there is a choice: it would hide what is wrong with the file that the others found.
    others = [name for name in fits if name not in own and formats[name].last and _is_one(path, formats[name])]
    return [(name, folder, _weights(path, folder, formats[name])) for name in own + others]


def _bare(path: Path, source: str) -> tuple[str, Path, Path]:
    """Tensors by themselves, whatever lies beside them."""
    form: Format = FORMATS.get(BARE_NAME)
    folder = path if path.is_dir() else path.parent
    if path.is_file() and not _is_of(path, form.marks[-1]):
        raise _unknown_file(path, {BARE_NAME: form})
    if not _matches(folder, form.marks[-1]):
        raise _unknown_folder(source, {BARE_NAME: form})
    return BARE_NAME, folder, _weights(path, folder, form)


def _is_one(path: Path, form: Format) -> bool:
    return _is_of(path, form.marks[-1]) if path.is_file() else len(_matches(path, form.marks[-1])) == 1


def _weights(path: Path, folder: Path, form: Format) -> Path:
    mark = form.marks[-1]
    weights = [path] if path.is_file() and _is_of(path, mark) else _matches(folder, mark)
    if len(weights) > 1:
        raise UserError(f"{folder} holds {len(weights)} dictionaries.", "one", f"give the file, such as {weights[0]}.")
    return weights[0]


def _unknown_file(path: Path, formats: Mapping[str, Format]) -> UserError:
    marks = sorted({mark for form in formats.values() for mark in form.marks})
    return UserError(
        f"{path} is not a file we know by its name and its neighbours.",
        "one of " + ", ".join(marks),
        "give the folder, or rename the file you mean (a checkpoint beside it would be another dictionary), or say of "
        "which kind it is (--kind) to have its tensors read by themselves.",
    )


def _unknown_folder(source: str, formats: Mapping[str, Format]) -> UserError:
    known = "; ".join(f"{name}: {' and '.join(form.marks)}" for name, form in formats.items())
    return UserError(
        f"{source} holds no dictionary in a format we know.", known, "give the folder that holds these files."
    )


def _is_of(path: Path, mark: str) -> bool:
    return any(fnmatch(path.name, one) for one in mark.split("|"))


def _matches(folder: Path, mark: str) -> list[Path]:
    return sorted({path for one in mark.split("|") for path in folder.glob(one) if path.is_file()})


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
