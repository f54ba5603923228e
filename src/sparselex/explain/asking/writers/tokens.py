"""An explanation of a latent of single tokens, from short snippets around each."""

from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.protocols import Told
from sparselex.explain.asking.subject import Opens
from sparselex.explain.asking.words import prompt, quoted, variant
from sparselex.explain.asking.writers.examples import NOTHING_SHOWN
from sparselex.explain.asking.writers.passages import Passages
from sparselex.explain.asking.writers.sentences import THOUGHTS, asking, said_of, unsaid
from sparselex.explain.evidence import Evidence
from sparselex.llm.records import Capabilities, Request, Talk

VERSION = "tokens.v1"
"""The prompt."""

_BEFORE, _AFTER = 5, 2
"""Tokens of a snippet before and behind the marked one."""


class Tokens:
    """One sentence for each latent, from a list of snippets in which one token is marked: a third of the tokens of
    passages, and enough where the token itself is what matters."""

    explained = "an explanation by a language model that has seen its tokens"

    def __init__(self, evidence: Evidence, config: AskConfig, subject: Opens | None = None):
        self.passages, self.config = Passages(evidence.train, config), config

    def talk(self, latent: int, can: Capabilities) -> Talk[Told]:
        """Asks, and once more where the answer cannot be read."""
        first, said = self._request(latent, can), variant(VERSION, can)
        if first is None:
            return unsaid(latent, NOTHING_SHOWN, said)
        return (yield from said_of(latent, first, said))

    def _request(self, latent: int, can: Capabilities) -> Request | None:
        windows = self.passages.active(latent)
        if not windows:
            return None
        pair = self.passages.pair(windows)
        system = prompt(VERSION).substitute(
            opening=pair[0], closing=pair[1], thoughts=THOUGHTS if self.config.thoughts else ""
        )
        # Quoted, a snippet is one line and cannot end before its end.
        snippets = [self.passages.snippet(window, pair, _BEFORE, _AFTER) for window in windows]
        lines = [f"{number}. {quoted(snippet)}" for number, snippet in enumerate(snippets, 1)]
        return asking(system, "\n".join(lines), self.config, can)
