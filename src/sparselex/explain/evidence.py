"""What an explainer sees, and what a scorer does: the same of different documents, and nothing else."""

from functools import cached_property, lru_cache

from sparselex.base.errors import UserError
from sparselex.base.seeds import generator
from sparselex.base.vocabulary import Vocabulary
from sparselex.explain.windows import TokenWindows
from sparselex.features.counted import Column, CountedTokens, drawn_shift
from sparselex.features.index import FeatureIndex
from sparselex.features.records import Example
from sparselex.features.tokens import TokenTexts
from sparselex.features.windows import ExampleView, Windows
from sparselex.text.splits import SPLITS, Split


class SplitEvidence:
    """What the documents of one split show of every latent of an index."""

    def __init__(self, index: FeatureIndex, split: Split, seed: int):
        self.split, self.seed, self._index = split, seed, index
        # The latent at hand is asked for several times: as it is, and shifted.
        self._column = lru_cache(maxsize=1)(lambda latent: index.counted_column(latent, split).sizes())

    @property
    def vocabulary(self) -> Vocabulary:
        """The bytes of every token."""
        return self._index.corpus.vocabulary

    @cached_property
    def texts(self) -> TokenTexts:
        """How tokens are written."""
        return TokenTexts(self.vocabulary)

    @property
    def n_ctx(self) -> int:
        """Tokens of a row."""
        return self._index.corpus.n_ctx

    @property
    def tokens(self) -> CountedTokens:
        """The counted tokens of the split."""
        return self._index.counted_tokens(self.split)

    def windows(self, size: int) -> TokenWindows:
        """The counted tokens in windows of up to `size`, each inside one row and one document."""
        return TokenWindows(self.tokens, self._index.corpus.n_ctx, size)

    def neighbours(self, latent: int) -> list[int]:
        """The latents with the nearest decoder directions, the nearest first; none where there are no directions."""
        return [neighbour.latent for neighbour in self._index.record(latent).neighbours]

    def coactive(self, latent: int) -> list[int]:
        """The latents that are most often active on the same training tokens, the most first; none where that was not
        counted."""
        return [other.latent for other in self._index.record(latent).coactive]

    def logit_effects(self, latent: int) -> tuple[list[int], list[int]]:
        """The tokens whose logits a latent's direction raises most, the most first, and those that it lowers most; none
        where there is no direct path. Of the weights alone: no document goes into it."""
        record = self._index.record(latent)
        return [one.token for one in record.logits_top], [one.token for one in record.logits_bottom]

    def column(self, latent: int) -> Column:
        """Where among the counted tokens a latent is active, and how strongly, by size."""
        return self._column(latent)

    def shifted(self, latent: int) -> Column:
        """The null: the column moved by a third to two thirds of the split, so that it lies over other documents."""
        return self.column(latent).shifted(self._shift(latent), max(1, len(self.tokens)))

    def examples(self, latent: int, n: int, seed: int | None = None) -> list[Example]:
        """`n` places at which a latent is active, at most one a row: the largest activations or, with a `seed`, places
        drawn at random from all of them."""
        return self._index.examples(latent, self.split, n, seed)

    def silent(self, latent: int, n: int, seed: int) -> list[Example]:
        """`n` counted places at which a latent is not active, drawn at random, at most one a row."""
        return self._index.silent(latent, self.split, n, seed)

    def token(self, position: int) -> int:
        """The token at a position of this split. Raises `UserError` for a position of another."""
        self._check(position)
        row, column = divmod(position, self._index.corpus.n_ctx)
        return int(self._index.corpus.tokens[row, column])

    def views(self, latent: int, examples: list[Example]) -> list[ExampleView]:
        """Examples with the text around them and the activations on it. Raises `UserError` for an example of another
        split."""
        windows = Windows(self._index, latent, self.texts, self.split)
        for example in examples:
            self._check(example.position)
        return [windows.view(example) for example in examples]

    def _check(self, position: int) -> None:
        if position // self._index.corpus.n_ctx not in self._index.corpus.row_ranges[self.split]:
            raise UserError(
                f"Position {position} does not lie in {self.split} documents.",
                "a position that this evidence has given",
                "explain with train and validation documents; test documents are for scores.",
            )

    def _shift(self, latent: int) -> int:
        """How far the null is moved; drawn for all splits in their order, so that each has the same whoever asks."""
        rng = generator(self.seed, "shift", latent)
        sizes = [max(1, self._index.n_counted[split]) for split in SPLITS]
        shifts = [drawn_shift(rng, n) for n in sizes]
        return shifts[SPLITS.index(self.split)]


class Evidence:
    """What an explainer sees of an index: train documents, to find words, and validation documents, to choose among
    them. Test documents are not here."""

    def __init__(self, index: FeatureIndex, seed: int = 0):
        self.train = SplitEvidence(index, "train", seed)
        self.validation = SplitEvidence(index, "validation", seed)


class HeldOut(SplitEvidence):
    """What a scorer sees of an index: test documents."""

    def __init__(self, index: FeatureIndex, seed: int = 0):
        super().__init__(index, "test", seed)


class Choosing(HeldOut):
    """What a scorer sees that is to choose among explanations and not to report: validation documents."""

    def __init__(self, index: FeatureIndex, seed: int = 0):
        SplitEvidence.__init__(self, index, "validation", seed)
