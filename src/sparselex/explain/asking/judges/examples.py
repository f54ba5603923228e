"""Example embedding: are held-out passages nearer to a latent's own examples than to others? (Paulo and Belrose 2025;
examples from training documents, passages from test ones. No explanation takes part.)"""

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from sparselex.base.figures import Better, Failure, Figure
from sparselex.base.intervals import Floats
from sparselex.base.seeds import generator
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.drawing import Drawing
from sparselex.explain.asking.judging import DEFINITIONS, Item, Judged, Nulls, auroc_of, judgements, scores
from sparselex.explain.asking.known import EACH, Tried, auroc_figure
from sparselex.explain.asking.known_words import Word, Words
from sparselex.explain.asking.mistaken import some
from sparselex.explain.asking.protocols import Told
from sparselex.explain.asking.subject import Opens
from sparselex.explain.asking.words import plain
from sparselex.explain.embedding.config import EmbedConfig
from sparselex.explain.embedding.encoder import lacking
from sparselex.explain.embedding.vectors import Vectors
from sparselex.explain.evidence import Evidence, HeldOut
from sparselex.explain.records import Explanation, Scored
from sparselex.explain.windows import drawn
from sparselex.llm.records import Capabilities, Talk

Numbers = NDArray[np.int64]
"""Windows by their numbers."""

_LEFT_OUT = ("wrong_specificity", "empty", "unanswered")


class Examples:
    """How much nearer a passage is to active windows of training documents than to silent ones, by the mean cosine
    under a sentence encoder that runs here. The null has other silent windows in the place of the active ones."""

    definitions: ClassVar = {name: words for name, words in DEFINITIONS.items() if name not in _LEFT_OUT}
    headline = "auroc"
    better: Better = "higher"
    known = "examples"

    def __init__(self, evidence: Evidence, held_out: HeldOut, config: AskConfig, subject: Opens | None = None):
        self.drawing, self.train, self.config = Drawing(evidence, held_out, config), evidence.train, config
        self.windows = evidence.train.windows(config.window)

    def lacks(self, can: Capabilities) -> str:
        """The encoder, where it is not installed."""
        return lacking(self.config.encoder)

    def talk(self, explanation: Explanation, another: str | None, can: Capabilities) -> Talk[Told]:
        """Hold the latent's windows against its training examples; nobody is asked."""
        yield from ()
        latent, said = explanation.latent, f"cosines of {self.config.encoder}"
        drawn_for = self.drawing.draw(latent, self.drawing.config.negatives)
        items = self.drawing.items(latent, drawn_for)
        own, silent, others = self.examples(latent)
        if not {"active", "silent"} <= {item.kind for item in items} or not own or not others:
            reason = "there are no windows in which it is active, or none in which it is silent"
            return Told(Failure(subject=f"latent {latent}", reason=reason), said, 0)
        texts = [item.text for item in items]
        found = self.judged(items, texts, own, silent)
        null = self.judged(items, texts, others, silent) if another is not None else None
        nulls = Nulls(null, None, self.drawing.lookup(latent, drawn_for.numbers))
        documents = self.drawing.windows.documents[drawn_for.numbers]
        made = scores("examples", explanation.explainer, found, nulls, documents, drawn_for.base_rate)
        made = [score for score in made if score.metric not in _LEFT_OUT]
        return Told(Scored(made, judgements("examples", explanation.explainer, found)), said, 0, items)

    def trial_on(self, words: Words) -> "_NearWords":
        """Windows that hold a word, held against others that hold it."""
        return _NearWords(self, words)

    def examples(self, latent: int) -> tuple[list[str], list[str], list[str]]:
        """Windows of training documents: active ones, silent ones, and other silent ones."""
        rng, column = generator(self.config.seed, "examples", latent), self.train.column(latent)
        active, silent = self.windows.active(column), self.windows.silent(column)
        own = active.numbers[drawn(active, "intervals", self.config.examples, rng)]
        n = len(own)
        two = some(silent, 2 * n, rng)
        return self._texts(own), self._texts(two[:n]), self._texts(two[n:])

    def _texts(self, numbers: NDArray[np.int64]) -> list[str]:
        tokens = self.train.tokens.tokens
        ranges = [self.windows.ranks(number) for number in numbers.tolist()]
        return [plain(self.train.vocabulary, tokens[ranks.start : ranks.stop].tolist()) for ranks in ranges]

    def judged(self, items: Sequence[Item], texts: Sequence[str], near: Sequence[str], far: Sequence[str]) -> Judged:
        """Mean cosine with some examples less that with others, moved from -2 to 2 to 0 to 1."""
        towards = self._vectors.of(near).mean(0) - self._vectors.of(far).mean(0)
        said: Floats = (2 + (self._vectors.of(texts) @ towards).astype(np.float64)) / 4
        return Judged(items, said, absolute=False).settled()

    @cached_property
    def _vectors(self) -> Vectors:
        return Vectors(EmbedConfig(encoder=self.config.encoder))


class _NearWords:
    """The trial of nearness to examples: windows that hold a word and windows that do not, by how much nearer they are
    to other windows that hold it. No document gives both."""

    measure, chance, each = "an AUROC", "guessing gives", 2 * EACH

    def __init__(self, judge: Examples, words: Words):
        self.judge, self.words = judge, words

    def talks(self, can: Capabilities) -> list[Talk[Tried]]:
        """One for each word whose windows are of enough documents; nobody is asked."""
        drawn = [self.windows(word) for word in self.words.drawn(generator(self.words.config.seed, "known"))]
        return [self._talk(*windows) for windows in drawn if all(map(len, windows))]

    def figure(self, tried: Sequence[Tried]) -> Figure:
        """The mean AUROC."""
        return auroc_figure("examples", tried)

    def _talk(self, holding: Numbers, lacking: Numbers, near: Numbers, far: Numbers) -> Talk[Tried]:
        yield from ()
        items = [self.words.item(number, "active") for number in holding.tolist()]
        items += [self.words.item(number, "silent") for number in lacking.tolist()]
        texts = lambda numbers: [self.words.texts[number] for number in numbers.tolist()]
        found = self.judge.judged(items, [item.text for item in items], texts(near), texts(far))
        return Tried((0, 0, 0, 0), auroc_of([item.kind for item in items], found.said), "")

    def windows(self, word: Word) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        """Windows that are judged, with the word and without; and of the other half of the documents the examples, as
        many with it as without."""
        rng, documents = generator(self.words.config.seed, "known examples", word.token), self.words.windows.documents
        n_documents = int(documents.max(initial=-1)) + 1
        shows = (rng.permutation(n_documents) < n_documents // 2)[documents]
        holding, lacking = (some(numbers[~shows[numbers]], EACH, rng) for numbers in (word.holding, word.lacking))
        near, far = (
            some(numbers[shows[numbers]], self.judge.config.examples, rng) for numbers in (word.holding, word.lacking)
        )
        n = min(len(near), len(far))
        return holding, lacking, near[:n], far[:n]
