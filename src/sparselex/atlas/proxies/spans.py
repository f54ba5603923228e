"""Proxies that are spans of a document's text: a regular expression, a list of words, a person's function."""

import time
from abc import abstractmethod
from collections.abc import Iterator
from importlib import import_module
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import regex
from numpy.typing import NDArray
from pydantic import Field

from sparselex.atlas.proxies.proxy import Background, Learned
from sparselex.atlas.proxies.text import Span, SplitText, spans_checked
from sparselex.base.config import Config
from sparselex.base.errors import UserError

INSIDE = "inside"
"""Name of the group of a pattern that alone is the concept, where the rest of a match tells only where it stands."""

_SHOWN = 60


class Spans(Config):
    """A rule that says of every token whether it is inside: 1 where a byte of it lies in a span, else 0."""

    edges: ClassVar[tuple[float, ...]] = (0.0,)

    def learn(self, train: SplitText, background: Background) -> Learned:
        """Itself: such a rule needs no text."""
        return self

    def scores(self, text: SplitText) -> NDArray[np.float64]:
        """`[n]`, 1 for each token that is inside, else 0."""
        return text.inside(self._finder(text)).astype(np.float64)

    @abstractmethod
    def _finder(self, text: SplitText) -> Any:
        """What finds the spans of each document of a text."""


class RegexProxy(Spans):
    """Tokens that a match of a regular expression overlaps, over the text of whole documents."""

    kind: Literal["regex"] = "regex"
    """Which kind of rule it is."""

    pattern: str
    """The expression, in the syntax of the `regex` package (Python's, and `\\p{...}`); `^` and `$` are ends of lines.
    Of a match only what a group called `inside` holds is inside, where there is one."""

    time_limit_s: Annotated[float, Field(gt=0, le=3600)] = 30.0
    """Seconds that all documents of a split may take."""

    said: str = ""
    """What it is, in words; left out, the pattern itself."""

    @property
    def words(self) -> str:
        """What it is."""
        if self.said:
            return self.said
        what = f"a match of “{self.pattern}”"  # as it was typed: quoting it would double its backslashes
        if f"(?P<{INSIDE}>" in self.pattern or f"(?<{INSIDE}>" in self.pattern:
            what = f"the group “{INSIDE}” of {what}"
        return f"tokens that {what} overlaps"

    def learn(self, train: SplitText, background: Background) -> Learned:
        """Itself, once the pattern is known to be one."""
        self._compiled()
        return self

    def _compiled(self) -> Any:
        try:
            return regex.compile(self.pattern, regex.MULTILINE)
        except (regex.error, RecursionError, OverflowError) as error:
            said = str(error) or type(error).__name__
            raise UserError(
                f"{self.pattern!r} is no regular expression: {said}.",
                "an expression in Python's syntax, such as '\\bself\\b' or '0x[0-9a-f]+'",
                "correct it at that place; brackets, dots and question marks that are meant as such want a backslash.",
            ) from None

    def _finder(self, text: SplitText) -> Any:
        pattern, ends = self._compiled(), time.monotonic() + self.time_limit_s
        group: Any = INSIDE if INSIDE in pattern.groupindex else 0

        def spans(document: int, words: str) -> Iterator[Span]:
            left = ends - time.monotonic()
            try:
                if left <= 0:
                    raise TimeoutError
                yield from (found.span(group) for found in pattern.finditer(words, timeout=left))
            except TimeoutError:
                raise UserError(
                    f"{self.pattern[:_SHOWN]!r} had found nothing more in {text.name(document)} of the {text.split} "
                    f"split when its {self.time_limit_s:g} seconds were over.",
                    "an expression that is quick on any text",
                    "have no repetition inside a repetition, such as (a+)+: write a+, or a++, which is not tried "
                    "again; or give more time with --time-limit-s.",
                ) from None

        return spans


class WordsProxy(Spans):
    """Tokens of some words, where these stand by themselves."""

    kind: Literal["words"] = "words"
    """Which kind of rule it is."""

    of: Annotated[tuple[str, ...], Field(min_length=1)]
    """The words, upper and lower case as they are written."""

    said: str = ""
    """What they are, in words; left out, the list."""

    @property
    def words(self) -> str:
        """What they are."""
        return self.said or f"tokens of the words {', '.join(self.of)}"

    def _finder(self, text: SplitText) -> Any:
        if not all(word.strip() for word in self.of):
            raise UserError(f"{list(self.of)} has an empty word.", "words", "take out a comma that is too many.")
        # The longest first: of two that begin alike the alternation takes the one that comes first.
        every = "|".join(regex.escape(word, special_only=True) for word in sorted(self.of, key=len, reverse=True))
        pattern = regex.compile(rf"(?<!\w)(?:{every})(?!\w)")
        return lambda document, words: (found.span() for found in pattern.finditer(words))


class FunctionProxy(Spans):
    """Tokens in spans that a person's function finds in the text of a document."""

    kind: Literal["function"] = "function"
    """Which kind of rule it is."""

    address: str
    """Where the function is, `package.module:function`. It is given a document's text and gives pairs (start, end) of
    characters."""

    said: str = ""
    """What it finds, in words; left out, its address."""

    @property
    def words(self) -> str:
        """What it finds."""
        return self.said or f"tokens in spans that {self.address} finds"

    def learn(self, train: SplitText, background: Background) -> Learned:
        """Itself, once the function is known to be there."""
        function_at(self.address)
        return self

    def _finder(self, text: SplitText) -> Any:
        function = function_at(self.address)

        def spans(document: int, words: str) -> Iterator[Span]:
            try:
                found = list(function(words))
            # A door: a person's function may fail in any way.
            except Exception as error:
                raise UserError(
                    f"{self.address} failed on {text.name(document)}: {type(error).__name__}: {error}.",
                    "a function that gives the spans of any text",
                    "correct it; a text without a span gives an empty list.",
                ) from error
            return spans_checked(found, len(words), self.address)

        return spans


def function_at(address: str) -> Any:
    """The function at an address. Raises `UserError` where there is none."""
    module, sign, name = address.partition(":")
    expected = "package.module:function, of a module that Python can import from here"
    if not (sign and module and name):
        raise UserError(f"{address!r} is no address of a function.", expected, "write for example my_spans:find_dates.")
    try:
        found = getattr(import_module(module), name)
    # A door: a person's module may fail in any way while it is imported.
    except Exception as error:
        raise UserError(
            f"{address!r} cannot be had: {type(error).__name__}: {error}.",
            expected,
            "check the name, and that the module's folder is on PYTHONPATH.",
        ) from error
    if not callable(found):
        raise UserError(f"{address!r} is {type(found).__name__}, which cannot be called.", expected, "name a function.")
    return found
