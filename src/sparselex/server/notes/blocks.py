"""The form of the file of notes: headings, `- name: value` lines, and quoted texts, each line behind a `>`.

A text is quoted line by line, so that headings and fences in it end nothing, and comes back letter by letter.
"""

from typing import NamedTuple

from sparselex.base.errors import UserError


class Block(NamedTuple):
    """A heading with what stands under it."""

    level: int
    """How many `#` it has."""

    heading: str
    """Its words."""

    values: dict[str, str]
    """What stands in its lines, by name; a quoted text belongs to the line before it, or to the name `text`."""

    line: int = 0
    """Where it stands in the file, from 1."""


def written(blocks: list[Block]) -> str:
    """Blocks as Markdown."""
    return "\n".join(line for block in blocks for line in _lines(block))


def read(text: str, name: str) -> list[Block]:
    """The blocks of a file. Raises `UserError` that names the first line that is none of the three forms."""
    blocks, quoted = list[Block](), BODY
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        mark, _, words = line.partition(" ")
        if mark and set(mark) == {"#"} and words:
            blocks.append(Block(len(mark), words.strip(), {}, number))
            quoted = BODY
        elif line.startswith(">") and blocks:
            values, piece = blocks[-1].values, line[1:].removeprefix(" ")
            values[quoted] = f"{values[quoted]}\n{piece}" if quoted in values else piece
        elif mark == "-" and words and blocks:
            field, colon, value = words.partition(":")
            quoted = BODY if value.strip() or not colon else field
            if quoted == BODY:
                blocks[-1].values[field] = value.strip() or YES
        elif line.strip():
            raise _unreadable(name, number, line)
    return blocks


BODY, YES = "text", "yes"
"""Name of the text that belongs to a heading itself, and what a line without a colon says."""


def _lines(block: Block) -> list[str]:
    inline, quoted = list[str](), list[str]()
    # The text of the heading itself comes first: behind another name it would be that one's.
    for name, value in sorted(block.values.items(), key=lambda pair: pair[0] != BODY):
        if name != BODY and "\n" not in value and value == value.strip():
            inline.append(f"- {name}" if value == YES else f"- {name}: {value}")
        else:
            lines = [f"> {line}" if line else ">" for line in value.split("\n")]
            quoted += [*([] if name == BODY else [f"- {name}:", ""]), *lines, ""]
    return [f"{'#' * block.level} {block.heading}", "", *inline, *([""] if inline else []), *quoted]


def _unreadable(name: str, number: int, line: str) -> UserError:
    return UserError(
        f"Line {number} of {name} is {line[:60]!r}.",
        "a heading, a line `- name: value`, or a quoted line that begins with >",
        "correct the line; nothing was taken up.",
    )
