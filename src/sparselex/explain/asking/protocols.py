"""What writers and judges are: talks with a language model that know neither network nor order of work."""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from sparselex.base.figures import Failure
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.judging import Item, Judged
from sparselex.explain.asking.known import Trial
from sparselex.explain.asking.known_words import Words
from sparselex.explain.asking.subject import Opens
from sparselex.explain.evidence import Evidence, HeldOut
from sparselex.explain.records import Explanation, Scored
from sparselex.llm.records import Capabilities, Talk


class Told(NamedTuple):
    """What came of one latent, and how it was got."""

    found: Explanation | Scored | Failure
    """The explanation, the scores, or why there are none."""

    variant: str
    """How it was asked: version of the prompt, and what of the server was used."""

    n_unanswered: int
    """Questions of which nothing could be read, after they were asked again."""

    seen: Sequence[Item] = ()
    """The windows that were judged, as the judge read them."""


@runtime_checkable
class Writes(Protocol):
    """Explains latents by asking. Made once for all latents of an index; `subject` opens the model that has them, where
    there is one."""

    explained: ClassVar[str]
    """What an explained latent has, in words that go on `share of living latents with …`."""

    def __init__(self, evidence: Evidence, config: AskConfig, subject: Opens | None = None) -> None: ...

    def talk(self, latent: int, can: Capabilities) -> Talk[Told]:
        """Ask until there is an explanation of the latent, or a failure with its reason."""
        ...


@runtime_checkable
class Judges(Protocol):
    """Holds explanations against held-out documents by asking. Made once for all latents of an index; `subject` opens
    the model that has them, where there is one."""

    definitions: ClassVar[dict[str, str]]
    """What each of its measures is, by metric."""

    headline: ClassVar[str]
    """The metric that stands for all in lists."""

    known: ClassVar[str]
    """By what it is tried before it scores: `votes`, as all are that are asked whether something fits; a word of its
    own for one that `Weighs` otherwise, or that `Tries` something else; empty for one that cannot be tried on known
    words."""

    def __init__(
        self, evidence: Evidence, held_out: HeldOut, config: AskConfig, subject: Opens | None = None
    ) -> None: ...

    def lacks(self, can: Capabilities) -> str:
        """Why it cannot judge where no more can be asked for than this; empty where it can."""
        ...

    def talk(self, explanation: Explanation, another: str | None, can: Capabilities) -> Talk[Told]:
        """Ask until every window is judged, or given up; where another latent's explanation is given, the same windows
        are judged by that too, for the null."""
        ...


@runtime_checkable
class Weighs(Protocol):
    """A judge that says of windows how well a description fits them, and so can be tried on what is known."""

    known: ClassVar[str]
    """By what it weighs, in one word."""

    def weigh(self, description: str, items: Sequence[Item], can: Capabilities) -> Talk[tuple[Judged, str]]:
        """What it says of each window, whose order alone tells something, and why it said nothing of some."""
        ...


@runtime_checkable
class Tries(Protocol):
    """A judge that says nothing of single windows, and is tried on known words by what it does instead."""

    known: ClassVar[str]
    """What it does, in one word."""

    def trial_on(self, words: Words) -> Trial[Any]:
        """What it is to do with these words, as it does it with latents."""
        ...
