"""Records as documents: where in a record the text is, and what is done with records that have none."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from sparselex.base.errors import UserError
from sparselex.text.documents import HALVED, Document, Skipped, half_character
from sparselex.text.opening import CUT

TEXT_FIELDS = ("text", "content", "story", "document")
"""Fields of a record in which the text is looked for, in this order."""

ROLES_FIELD = "roles"
"""Field of a record with named parts of its text."""

_JUDGED = 50
"""Records without text after which a source of which they are most is refused, and no more of it is read."""


class Broken(ValueError):
    """What stands in the place of a record that cannot be read: no JSON, no UTF-8, no row of its table."""


class NoDocument(UserError):
    """A record that ought to be a document and is none; `what` is what it is counted as."""

    def __init__(self, what: str, given: str, expected: str, todo: str):
        super().__init__(given, expected, todo)
        self.what = what


def documents_of(values: Iterable[Any], name: str, where: Callable[[int], str]) -> Iterator[Document | Skipped]:
    """Records as documents called `name#number`, counted from 0; what is empty or broken is skipped.

    `where` names a record in messages. Raises `UserError` if most records that are not empty are broken or have no
    text: the source is then no such file, or its text is elsewhere.
    """
    n_good, faults, first = 0, 0, None
    held = list[Skipped]()  # until there is a document: a source that is refused had nothing to skip
    for number, value in enumerate(_until_cut(values)):
        try:
            item = document_of(value, f"{name}#{number}", where(number))
        except NoDocument as error:
            faults, first = faults + 1, first or error
            if faults >= _JUDGED and faults > n_good:
                break
            held.append(Skipped(error.what, error.given))
            if n_good:
                yield held.pop()
            continue
        if isinstance(item, Document):
            n_good += 1
            yield from held
            held.clear()
        yield item
    if first and faults > n_good:
        more = f" So it is with {faults:,} of {faults + n_good:,} records." if faults > 1 or n_good else ""
        raise UserError(first.given + more, first.expected, first.todo)


def document_of(value: Any, name: str, where: str) -> Document | Skipped:
    """A record (text, or fields with one of `TEXT_FIELDS`) as a document; skipped where its text is null. Raises
    `NoDocument` for one without text."""
    if isinstance(value, Broken):
        raise NoDocument(
            "records that cannot be read",
            f"{where} cannot be read: {value}.",
            "whole records, in UTF-8",
            "correct it, or leave it out.",
        )
    fields = [field for field in TEXT_FIELDS if field in value] if isinstance(value, dict) else []
    for text in (value, *(value[field] for field in fields)):
        if isinstance(text, str | bytes):
            roles = value.get(ROLES_FIELD) if isinstance(value, dict) else None
            return _whole(Document(name, text if isinstance(text, str) else _decoded(text), roles), where)
    if value is None or any(value[field] is None for field in fields):
        return Skipped("empty documents", where)
    raise NoDocument(
        "records without text",
        f"{where} holds {_shown(value)} and no text.",
        "a string, or a record with one of the fields " + ", ".join(TEXT_FIELDS),
        "rename the field that holds the text.",
    )


def _decoded(text: bytes) -> str:
    """Parquet has columns of bytes; what is no UTF-8 becomes half characters."""
    return text.decode(errors="surrogateescape")


def _whole(document: Document, where: str) -> Document:
    """The same. Raises `NoDocument` for half a character: JSON can write what no text holds."""
    if fault := half_character(document.text):
        raise NoDocument(HALVED, f"{where} is no text: {fault}.", "Unicode text", "correct it, or leave it out.")
    return document


def columns_of(there: Sequence[str], where: str) -> list[str]:
    """The columns of a table that are read. Raises `UserError` naming those there are if none holds text."""
    found = [name for name in (*TEXT_FIELDS, ROLES_FIELD) if name in there]
    if not set(found) & set(TEXT_FIELDS):
        raise UserError(
            f"{where} has no column of text; its columns are {listed(there)}.",
            "one of the columns " + ", ".join(TEXT_FIELDS),
            "rename the column that holds the text; a table without names of its columns gets them in its first line.",
        )
    return found


def listed(names: Sequence[Any]) -> str:
    """Names out of a file, as many and as long as a message can hold."""
    shown = ", ".join(repr(str(name)[:40]) for name in names[:12])
    return shown + (f" and {len(names) - 12} more" if len(names) > 12 else "") if names else "none"


def _until_cut(values: Iterable[Any]) -> Iterator[Any]:
    """The same up to where a compressed file is cut off, and there one that is broken."""
    try:
        yield from values
    except CUT as error:
        yield Broken(f"the file is cut off or damaged ({error})")


def _shown(value: Any) -> str:
    if not isinstance(value, dict):
        return f"a {type(value).__name__}"
    named = next((name for name in TEXT_FIELDS if name in value), None)
    return f"a {type(value[named]).__name__} as {named}" if named else f"the fields {listed(list(value))}"
