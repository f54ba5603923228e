"""What the pages that ask the live model have in common."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import StringConstraints

from sparselex.base.runs import RunCard
from sparselex.features.printing import shown_silent
from sparselex.features.tokens import TokenTexts
from sparselex.server.live_records import MOST_CHARACTERS, Answer, LiveView
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import PageRecord

Typed = Annotated[str, StringConstraints(max_length=MOST_CHARACTERS)]
"""A text that a reader gives."""


class AskingPage(PageRecord):
    """A page that asks the live model."""

    run: RunCard
    """What the run says of itself."""

    typed: str
    """The whole path of the workspace, as it can be typed into a shell."""

    live: LiveView
    """What became of what was asked."""


def asking(opened: OpenWorkspace, run: str, answer: Answer, title: str) -> dict[str, Any]:
    """The fields of an `AskingPage`. Raises like `OpenWorkspace.card`."""
    return {"title": title, "run": opened.card(run), "typed": opened.workspace.typed, "live": LiveView.of(answer)}


def as_typed(text: str) -> str:
    """A text as it was typed: a form sends each end of a line as two characters."""
    return text.replace("\r\n", "\n")


def printable(texts: TokenTexts, tokens: Sequence[int]) -> list[str]:
    """The text of each token within a text: of a character that several tokens make the last has it, the others
    nothing."""
    signs, found = texts.signs(tokens), [""] * len(tokens)
    for text, end in zip(signs.texts, signs.starts[1:], strict=True):
        found[end - 1] = shown_silent(text)
    return found
