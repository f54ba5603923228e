"""The examples of a feature's page: which, how many there are of the kind, and how they were chosen."""

from collections.abc import Sequence

from sparselex.base.config import Config
from sparselex.features import chosen
from sparselex.features.records import Example, FeatureRecord, IntervalExamples
from sparselex.features.windows import ExampleView, Windows
from sparselex.server.opened import OpenIndex
from sparselex.server.pages.asked import Asked, Show

N_SHOWN = 12
"""Examples of a kind that the reader chooses."""


class ExampleSet(Config):
    """Examples of one kind, of training documents, at most one a row of the corpus."""

    show: Show
    """What kind: as `Asked` has it."""

    low: float
    """Lower end of the range of activation that they are of, excluded."""

    high: float
    """Upper end, included."""

    n: int
    """Training tokens that they were chosen from."""

    examples: list[ExampleView]
    """The places with their text."""


class RangeView(Config):
    """A range of activation that examples can be had of."""

    low: float
    """Lower end, excluded."""

    high: float
    """Upper end, included."""

    n: int
    """Training tokens in it."""


def ranges(record: FeatureRecord) -> list[RangeView]:
    """The ranges of a latent that are not empty, the uppermost first."""
    return [RangeView(low=one.low, high=one.high, n=one.n) for one in record.intervals]


def example_sets(found: OpenIndex, record: FeatureRecord, windows: Windows, asked: Asked) -> list[ExampleSet]:
    """The examples that were asked for: one set, or with `show=all` the largest, some at random, and some of each
    range."""
    index, latent = found.index, record.latent
    n_train, largest = record.statistics["train"].n_active, abs(record.statistics["train"].max)

    def shown(show: Show, examples: Sequence[Example], n: int = n_train, low: float = 0.0, high: float = largest):
        views = [windows.whole(one) for one in examples] if asked.view == "row" else windows.views(examples)
        return ExampleSet(show=show, low=low, high=high, n=n, examples=views)

    match asked.show:
        case "top":
            return [shown("top", record.top)]
        case "level":
            level = largest * asked.level / 100
            return [shown("level", chosen.near_level(index, latent, level, N_SHOWN), low=level, high=level)]
        case "range":
            low, high = _asked_range(record.intervals, asked)
            return [shown("range", *chosen.in_range(index, latent, low, high, N_SHOWN, asked.seed), low, high)]
        case "token":
            tokens = found.tokens_with(asked.token) if asked.token else []
            return [shown("token", *chosen.on_tokens(index, latent, tokens, N_SHOWN))]
        case "random":
            return [shown("random", index.examples(latent, "train", N_SHOWN, asked.seed))]
    drawn = index.examples(latent, "train", N_SHOWN, asked.seed)
    each = [shown("range", one.examples, one.n, one.low, one.high) for one in record.intervals]
    return [shown("top", record.top), shown("random", drawn), *each]


def _asked_range(intervals: Sequence[IntervalExamples], asked: Asked) -> tuple[float, float]:
    """The range of the address, or the uppermost."""
    if asked.high or not intervals:
        return asked.low, asked.high
    return intervals[0].low, intervals[0].high
