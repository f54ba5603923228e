"""Embedding: is a passage near the explanation in the space of a sentence encoder? (Paulo et al. 2024, section 3.)"""

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

import numpy as np

from sparselex.base.figures import Better
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.drawing import Drawing
from sparselex.explain.asking.judging import DEFINITIONS, Item, Judged
from sparselex.explain.asking.protocols import Told
from sparselex.explain.asking.subject import Opens
from sparselex.explain.asking.trial import trial
from sparselex.explain.embedding.config import EmbedConfig
from sparselex.explain.embedding.encoder import lacking
from sparselex.explain.embedding.vectors import Vectors
from sparselex.explain.evidence import Evidence, HeldOut
from sparselex.explain.records import Explanation
from sparselex.llm.records import Capabilities, Talk


class Embedding:
    """Cosine of explanation and passage under a sentence encoder that runs here: no language model is asked, and
    nothing about single tokens can be seen. Cheap, and the least like what people say."""

    definitions: ClassVar = {name: words for name, words in DEFINITIONS.items() if name != "wrong_specificity"}
    headline = "auroc"
    better: Better = "higher"
    known = "embedding"

    def __init__(self, evidence: Evidence, held_out: HeldOut, config: AskConfig, subject: Opens | None = None):
        self.drawing, self.encoder = Drawing(evidence, held_out, config), config.encoder

    def lacks(self, can: Capabilities) -> str:
        """The encoder, where it is not installed."""
        return lacking(self.encoder)

    def talk(self, explanation: Explanation, another: str | None, can: Capabilities) -> Talk[Told]:
        """Judge the latent's windows by its explanation, and by another's."""
        drawn = self.drawing.draw(explanation.latent, self.drawing.config.negatives)
        items, said = self.drawing.items(explanation.latent, drawn), f"cosines of {self.encoder}"
        return (yield from trial("embedding", said, self.weigh, self.drawing, drawn, items, explanation, another, can))

    def weigh(self, description: str, items: Sequence[Item], can: Capabilities) -> Talk[tuple[Judged, str]]:
        """The cosine of every window with the description, moved from -1 to 1 to 0 to 1."""
        yield from ()
        cosines = self._vectors.of([item.text for item in items]) @ self._vectors.of([description])[0]
        return Judged(items, (1 + cosines.astype(np.float64)) / 2, absolute=False), ""

    @cached_property
    def _vectors(self) -> Vectors:
        return Vectors(EmbedConfig(encoder=self.encoder))
