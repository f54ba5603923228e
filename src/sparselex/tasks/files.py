"""A task that a person wrote: a file of JSON lines, one prompt a line. What is wrong with it is said line by line."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.files import checksum
from sparselex.base.reading import parse_json, regular
from sparselex.tasks.records import END, Part, Prompt
from sparselex.text.documents import Document
from sparselex.text.roles import token_spans
from sparselex.text.tokenizer import Tokenizer

_EXPECTED = 'lines such as {"text": "The dogs", "attributes": {"number": "plural"}, "answer": " are", "other": " is"}'

_LONGEST_NAME = 60


class TaskRecord(Config):
    """One line of a task's file: a prompt whose continuation is known."""

    text: Annotated[str, Field(min_length=1)]
    """What the model reads."""

    attributes: Annotated[dict[str, str], Field(min_length=1)]
    """The value of every attribute; all lines have the same attributes."""

    answer: str
    """The right continuation, one token: mostly with the space before it."""

    other: str
    """The wrong one that it is held against, one token."""

    roles: dict[str, tuple[int, int]] = {}
    """Named parts of the text, [start, end) in characters; a role is the last token of its part. All lines have the
    same. `end`, the last token, is there by itself."""

    of_part: Literal["", "fit", "evaluate"] = Field(default="", alias="part")
    """Called `part` in the file: whether dictionaries are made of it (fit) or tested on it (evaluate). Left out in
    every line, prompts are divided here."""

    template: str = ""
    """Only prompts of one template are counterparts of each other."""


class Line(NamedTuple):
    """A prompt with its tokens."""

    where: str
    """File and line."""

    prompt: Prompt
    """The prompt."""

    template: str
    """Its template."""

    part: Part | Literal[""]
    """Its part, or nothing where it is to be divided."""

    ids: tuple[int, ...]
    """Its tokens."""


def lines_of(path: Path, tokenizer: Tokenizer) -> tuple[list[Line], str]:
    """The prompts of a file, and a hash of its contents. Raises `UserError` naming the line for what is no prompt, for
    a role outside its text and for an answer that is not one token; and for lines that have not the same attributes,
    roles and kind of part, the same text twice, or one value of an attribute in all."""
    read = list(_records(path))
    if not read:
        raise UserError(f"The file {path} has no prompts.", _EXPECTED, "write some, or check the path.")
    ids = tokenizer.encode_batch([record.text for _, record in read])
    said = tokenizer.encode_batch([text for _, record in read for text in (record.answer, record.other)])
    found = [
        _line(where, record, row, said[2 * number : 2 * number + 2], tokenizer)
        for number, ((where, record), row) in enumerate(zip(read, ids, strict=True))
    ]
    _check_alike(found)
    _check_values(path, found)
    return found, checksum(path)


def _records(path: Path) -> Iterator[tuple[str, TaskRecord]]:
    try:
        text = regular(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(
            f"The task's file {path} cannot be read: {error}.", "a file of JSON lines in UTF-8", "check the path."
        ) from None
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            values = parse_json(line)
        except ValueError as error:
            raise UserError(f"{where} is no JSON: {error}.", _EXPECTED, "correct that line.") from None
        yield where, TaskRecord.parse(values, where)


def _line(
    where: str, record: TaskRecord, ids: Sequence[int], said: Sequence[Sequence[int]], tokenizer: Tokenizer
) -> Line:
    for what, names in (("role", record.roles), ("attribute", record.attributes)):
        if odd := [name for name in names if not name or name != name.strip() or len(name) > _LONGEST_NAME]:
            raise UserError(
                f"{where} has the {what} {odd[0][:60]!r}.",
                f"a name of 1 to {_LONGEST_NAME} characters without blanks around it",
                "rename it in every line.",
            )
    if END in record.roles:
        raise UserError(
            f"{where} has the role {END!r}.", "roles of your own: the last token has that name", "leave it out."
        )
    for text, row in zip((record.answer, record.other), said, strict=True):
        if len(row) != 1:
            raise UserError(
                f"{where} has the answer {text!r}, which is {len(row)} tokens of this model.",
                "one token, mostly a word with the space before it",
                "take other words: a logit is one token's.",
            )
    if list(said[0]) == list(said[1]):
        raise UserError(f"{where} holds {record.answer!r} against itself.", "two answers", "correct answer or other.")
    token_spans(Document(where, record.text, roles=record.roles), ids, tokenizer.vocabulary)
    roles: Mapping[str, tuple[int, int]] = {**record.roles, END: (len(record.text) - 1, len(record.text))}
    prompt = Prompt(record.text, record.attributes, roles, record.answer, record.other)
    return Line(where, prompt, record.template, record.of_part, tuple(ids))


def _check_alike(lines: Sequence[Line]) -> None:
    """Every line has the attributes and the roles of the first, a part if it has, and a text of its own."""
    first, texts = lines[0], dict[str, str]()
    for line in lines:
        for what in ("attributes", "roles"):
            here, there = (sorted(getattr(one.prompt, what)) for one in (line, first))
            if here != there:
                raise UserError(
                    f"{line.where} has the {what} {', '.join(here)}, and {first.where} {', '.join(there)}.",
                    f"the same {what} in every line",
                    f"give every line the same {what}, or make two files.",
                )
        if (line.part == "") != (first.part == ""):
            raise UserError(
                f"Of {line.where} and {first.where} one has a part, and the other has none.",
                "a part in every line or in none",
                'write "part": "fit" or "part": "evaluate" in every line, or leave it out everywhere.',
            )
        if line.prompt.text in texts:
            raise UserError(
                f"{line.where} has the text of {texts[line.prompt.text]}.", "each prompt once", "leave one of them out."
            )
        texts[line.prompt.text] = line.where


def _check_values(path: Path, lines: Sequence[Line]) -> None:
    for name in lines[0].prompt.attributes:
        if len(values := {line.prompt.attributes[name] for line in lines}) < 2:
            raise UserError(
                f"The attribute {name!r} has one value in {path}: {values.pop()!r}.",
                "at least two values, so that one can be told from another",
                "add prompts with another value, or leave the attribute out.",
            )
