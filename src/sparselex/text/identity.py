"""What a source of text is, told without making documents of it. Nothing here loads a reader of files."""

from pathlib import Path

from sparselex.base.files import fingerprint
from sparselex.text.documents import Stamped
from sparselex.text.folders import files_identity, text_files_stamp
from sparselex.text.table import parts_of, place_of


def text_id(source: str) -> str:
    """Hash of what `source` holds: names and contents of files; for a dataset, which cannot be read twice, its name;
    for a mixture, what all its sources hold, and their weights."""
    if parts := parts_of(source):
        return fingerprint([[text_id(one), weight] for one, weight in parts])
    match place_of(source):
        case Path() as path:
            return files_identity(path)
        case (found, rest):
            return found.identity(rest)
        case _:
            return fingerprint(source)


def text_stamp(source: str) -> str:
    """Hash that changes with what `source` holds, in milliseconds: names, sizes and times of files; what a source
    called by its name answers; for a dataset, which is not looked at twice, its name; of a mixture, of those of its
    sources."""
    if parts := parts_of(source):
        return fingerprint([text_stamp(one) for one, _ in parts])
    match place_of(source):
        case Path() as path:
            return text_files_stamp(path)
        case (found, rest):
            return found.stamp(rest) if isinstance(found, Stamped) else found.identity(rest)
        case _:
            return fingerprint(source)


def settled(source: str) -> str:
    """`source` as it is found from any folder: of a file or folder its whole path, anything else as it is; so too each
    source of a mixture."""
    if parts := parts_of(source):
        return "+".join(f"{settled(one)}@{weight:g}" for one, weight in parts)
    place = place_of(source)
    return str(place.absolute()) if isinstance(place, Path) else source
