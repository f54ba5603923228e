"""An explanation as the last entry of a list of examples that is written on: for models that follow no instructions."""

from collections import Counter
from collections.abc import Sequence

from sparselex.base.figures import Failure
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.labels import explained
from sparselex.explain.asking.protocols import Told
from sparselex.explain.asking.subject import Opens
from sparselex.explain.asking.words import prompt, quoted
from sparselex.explain.asking.writers.examples import NOTHING_SHOWN
from sparselex.explain.asking.writers.passages import Passages, Window
from sparselex.explain.asking.writers.sentences import LONGEST, unsaid
from sparselex.explain.evidence import Evidence
from sparselex.llm.records import Answer, Capabilities, Message, Request, Talk
from sparselex.llm.wire import harmless

VERSION = "few-shot.v1"
"""The prompt."""

_BEFORE, _AFTER = 4, 1
"""Tokens of a snippet before and behind the marked one."""

_MOST_MARKED = 5
"""Marked texts that are listed by themselves, the most frequent first."""

_ANSWER = 40
"""Tokens that an explanation may have."""

_TEMPERATURE = 0.7
"""Of the second answer, where the first was none."""

_IN_A_CHAT = "You are given a list that breaks off. Write how its last line goes on, and nothing else."


class FewShot:
    """What the marked parts of snippets are, written behind six worked examples as plain text is written on. The marked
    parts stand by themselves too, so that a model that can do little else can repeat them."""

    explained = "an explanation by a language model that has written on a list"

    def __init__(self, evidence: Evidence, config: AskConfig, subject: Opens | None = None):
        self.passages, self.config = Passages(evidence.train, config), config

    def talk(self, latent: int, can: Capabilities) -> Talk[Told]:
        """Asks, and once more, at random, where nothing came of it."""
        variant = f"{VERSION}, {'plain text' if can.plain else 'in a chat'}"
        windows = self.passages.active(latent)
        if not windows:
            return unsaid(latent, NOTHING_SHOWN, variant)
        first = self._request(windows, can)
        (answer,) = yield [first]
        if (text := _explanation(answer, can)) is None and isinstance(answer, Answer):
            again = {"temperature": _TEMPERATURE, "seed": self.config.seed + 1}
            (answer,) = yield [first.model_copy(update=again)]
            text = _explanation(answer, can)
        if isinstance(answer, Failure):
            return unsaid(latent, answer.reason, variant)
        if text is None:
            return unsaid(latent, f"the model gives no explanation: {answer.text[:200]!r}", variant)
        return Told(explained(latent, "llm", text), variant, 0)

    def _request(self, windows: Sequence[Window], can: Capabilities) -> Request:
        opening, closing = pair = self.passages.pair(list(windows))
        snippets = [self.passages.snippet(window, pair, _BEFORE, _AFTER) for window in windows]
        said = prompt(VERSION).substitute(
            opening=opening,
            closing=closing,
            texts=" | ".join(map(_in_a_line, snippets)),
            marked=", ".join(f"`{text}`" for text in self._marked(windows)),
        )
        before = () if can.plain else (Message("system", _IN_A_CHAT),)
        return Request(
            messages=(*before, Message("user", said)),
            max_tokens=_ANSWER,
            plain=can.plain,
            stop="\n" if can.plain else "",
            seed=self.config.seed if can.seed else None,
            purpose="explain",
        )

    def _marked(self, windows: Sequence[Window]) -> list[str]:
        """Texts of the marked tokens, without the blanks around words."""
        texts = [self.passages.plain([window.tokens[int(window.values.argmax())]]) for window in windows]
        often = Counter(text.strip() or text for text in texts)
        return [_in_a_line(text) for text, _ in often.most_common(_MOST_MARKED)]


def _in_a_line(text: str) -> str:
    """A text that ends no line: what breaks one is written as in a string."""
    return quoted(text)[1:-1].replace('\\"', '"')


def _explanation(answer: Answer | Failure, can: Capabilities) -> str | None:
    """What was written behind the first sign of quotation, which in a chat may be said again; None where that does not
    end, or the answer did not."""
    if isinstance(answer, Failure) or answer.cut:
        return None
    said = answer.text.strip().partition("\n")[0]
    begins_anew = said.startswith("`") and not can.plain
    text = harmless(said if begins_anew else f"`{said}")
    is_whole = text.count("`") % 2 == 0 and text.strip("` ")
    return text if is_whole and len(text) <= LONGEST else None
