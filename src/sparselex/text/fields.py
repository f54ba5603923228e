"""Records as documents: where in a record the text is, and what is done with records that have none."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from sparselex.base.errors import UserError, a
from sparselex.text.documents import HALVED, Document, Skipped, half_character
from sparselex.text.opening import CUT

TEXT_FIELDS = ("text", "content", "story", "document")
"""Fields of a record in which the text is looked for, in this order."""

CHAT_FIELD = "messages"
"""Field of a record in which a chat is looked for, after these."""

SAID_BESIDE = ("tool_calls", "function_call", "reasoning_content", "reasoning", "thinking")
"""Fields of a message in which it says something beside its content."""

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


def documents_of(
    values: Iterable[Any], name: str, where: Callable[[int], str], field: str = ""
) -> Iterator[Document | Skipped]:
    """Records as documents called `name#number`, counted from 0; what is empty or broken is skipped.

    `where` names a record in messages; `field` as in `document_of`. Raises `UserError` if most records that are not
    empty are broken or have no text: the source is then no such file, or its text is elsewhere.
    """
    n_good, faults, first = 0, 0, None
    held = list[Skipped]()  # until there is a document: a source that is refused had nothing to skip
    for number, value in enumerate(_until_cut(values)):
        try:
            item = document_of(value, f"{name}#{number}", where(number), field)
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


def document_of(value: Any, name: str, where: str, field: str = "") -> Document | Skipped:
    """A record as a document; skipped where its text is null.

    It is a text, or has it in `field` (`a.b` for one inside another), or else in one of `TEXT_FIELDS`, or as a chat in
    `CHAT_FIELD`. A field that is named may also hold token ids. Raises `NoDocument` for one without any of these.
    """
    if isinstance(value, Broken):
        raise NoDocument(
            "records that cannot be read",
            f"{where} cannot be read: {value}.",
            "whole records, in UTF-8",
            "correct it, or leave it out.",
        )
    found = _found(value, field)
    roles = value.get(ROLES_FIELD) if isinstance(value, dict) else None
    for content in found.values():
        if isinstance(content, str | bytes):
            return _whole(Document(name, content if isinstance(content, str) else _decoded(content), roles), where)
        if field and _is_ids(content):
            return Document(name, "", ids=content)
        if messages := _messages(content):
            text = "\n".join(map(_all_said, messages))
            return _whole(Document(name, text, messages=messages), where)
    if any(content is None or content == [] for content in found.values()):
        return Skipped("empty documents", where)
    raise NoDocument(
        "records without text",
        f"{where} holds {_shown(value, found)} and no text.",
        _expected(field),
        "name the field that holds the text, with --text-field on the command line.",
    )


def columns_of(there: Sequence[str], where: str, field: str = "") -> list[str]:
    """The columns of a table that are read. Raises `UserError` naming those there are if none holds text, and where two
    have the name of one that is read."""
    wanted = [field if field in there else field.partition(".")[0]] if field else [*TEXT_FIELDS, CHAT_FIELD]
    found = [name for name in wanted if name in there]
    if not found:
        raise UserError(
            f"{where} has no column {field or 'of text'}; its columns are {listed(there)}.",
            "one of these" if field else _expected(field),
            "name the column that holds the text, with --text-field on the command line; a table without names of its "
            "columns gets them in its first line.",
        )
    found += [ROLES_FIELD] * (ROLES_FIELD in there)
    if twice := [name for name in found if there.count(name) > 1]:
        raise UserError(
            f"{where} has {there.count(twice[0])} columns {twice[0]}; its columns are {listed(there)}.",
            "one column of each name that is read",
            "rename or remove all but one, or name another column with --text-field on the command line.",
        )
    return found


def listed(names: Sequence[Any]) -> str:
    """Names out of a file, as many and as long as a message can hold."""
    shown = ", ".join(repr(str(name)[:40]) for name in names[:12])
    return shown + (f" and {len(names) - 12} more" if len(names) > 12 else "") if names else "none"


def _found(value: Any, field: str) -> dict[str, Any]:
    """The fields of a record in which its text may be, in the order in which they are looked at."""
    if not isinstance(value, dict):
        return {} if field else {"": value}
    if not field:
        return {name: value[name] for name in (*TEXT_FIELDS, CHAT_FIELD) if name in value}
    if field in value:
        return {field: value[field]}
    for step in field.split("."):
        if value is None:  # nothing where something would be: as empty as a null itself
            break
        if not (isinstance(value, dict) and step in value):
            return {}
        value = value[step]
    return {field: value}


def _is_ids(content: Any) -> bool:
    return isinstance(content, list) and bool(content) and all(type(item) is int for item in content)


def _messages(content: Any) -> list[dict[str, Any]]:
    """The messages of a chat; empty for anything else."""
    if not isinstance(content, list) or not all(isinstance(item, dict) for item in content):
        return []
    messages = list(map(_message, content))
    are_whole = all(isinstance(item[part], str) for item in messages for part in ("role", "content"))
    return messages if are_whole else []


def _message(item: dict[str, Any]) -> dict[str, Any]:
    """A message without the fields that are empty in it, and with a content that is text where it has one or says all
    it says beside it."""
    more = {name: value for name, value in item.items() if value not in (None, "", [], {})}
    content = _said(item.get("content"))
    if content is None and any(name in more for name in SAID_BESIDE):
        content = ""
    return more | {"role": item.get("role"), "content": content}


def _all_said(message: dict[str, Any]) -> str:
    """What a message says, the calls of tools in it as JSON."""
    beside = [message[name] for name in SAID_BESIDE if name in message]
    told = [part if isinstance(part, str) else json.dumps(part, ensure_ascii=False, default=str) for part in beside]
    return "\n".join([message["content"], *told])


def _said(content: Any) -> Any:
    """What a message says: some have their text in parts, among them pictures."""
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        parts = [part.get("text") for part in content]
        return "".join(parts) if all(isinstance(part, str) for part in parts) else False
    return content


def _until_cut(values: Iterable[Any]) -> Iterator[Any]:
    """The same up to where a compressed file is cut off, and there one that is broken."""
    try:
        yield from values
    except CUT as error:
        yield Broken(f"the file is cut off or damaged ({error})")


def _expected(field: str) -> str:
    if field:
        return (
            f"text in the field {field}, or token ids, or a chat (a list of messages, each with its role and content)"
        )
    return f"a string, or a record with one of the fields {', '.join(TEXT_FIELDS)}, or a chat in {CHAT_FIELD}"


def _shown(value: Any, found: dict[str, Any]) -> str:
    if not isinstance(value, dict):
        return a(type(value).__name__)
    name, content = next(iter(found.items()), ("", None))
    return f"{a(type(content).__name__)} as {name}" if found else f"the fields {listed(list(value))}"


def _decoded(text: bytes) -> str:
    """Parquet has columns of bytes; what is no UTF-8 becomes half characters."""
    return text.decode(errors="surrogateescape")


def _whole(document: Document, where: str) -> Document:
    """The same. Raises `NoDocument` for half a character: JSON can write what no text holds."""
    if fault := half_character(document.text):
        raise NoDocument(HALVED, f"{where} is no text: {fault}.", "Unicode text", "correct it, or leave it out.")
    return document
