"""Documents of Hugging Face datasets, streamed."""

from collections.abc import Iterator
from importlib.util import find_spec

from sparselex.base.errors import UserError
from sparselex.text.documents import Document, Skipped
from sparselex.text.fields import documents_of


def dataset_documents(source: str, field: str = "") -> Iterator[Document | Skipped]:
    """Rows of the dataset `NAME`, `NAME:SPLIT` or `NAME:CONFIGURATION:SPLIT` (`train` where the split is left empty or
    out), their text in `field` as in `fields.document_of`. Raises `UserError` for one that cannot be loaded."""
    name, configuration, split = _parts(source)
    if find_spec("datasets") is None:
        raise UserError(
            f"{source!r} is no file or folder, and the package `datasets` is not installed.",
            "a path, the name of a source such as `stdlib`, or a dataset name with the package at hand",
            "check the path, or run `pip install sparselex[datasets]`.",
        )
    import datasets

    try:
        rows = datasets.load_dataset(name, configuration or None, split=split or "train", streaming=True)
        yield from documents_of(rows, name, lambda number: f"dataset {name}, row {number}", field)
    except UserError:
        raise
    except Exception as error:  # a door: the library raises many kinds for one cause, an unreachable dataset
        raise UserError(
            f"The text source {source!r} is no file or folder, and no dataset of that name can be loaded: {error}.",
            "`stdlib`, a file, a folder, or the name of a reachable Hugging Face dataset (NAME, NAME:SPLIT or "
            "NAME:CONFIGURATION:SPLIT)",
            "check the spelling and the network.",
        ) from None


def _parts(source: str) -> tuple[str, str, str]:
    match source.split(":"):
        case [name]:
            return name, "", ""
        case [name, split]:
            return name, "", split
        case [name, configuration, split]:
            return name, configuration, split
    raise UserError(
        f"The text source {source!r} has more than two colons.",
        "NAME, NAME:SPLIT or NAME:CONFIGURATION:SPLIT of a Hugging Face dataset",
        "leave out what is too much.",
    )
