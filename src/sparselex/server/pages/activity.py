"""How strongly a feature is active, as a histogram: on which axis, and how many of each bar's tokens match."""

from typing import NamedTuple

import numpy as np
import pyarrow
import pyarrow.compute
from numpy.typing import NDArray

from sparselex.base.config import Config
from sparselex.features.index import FeatureIndex
from sparselex.features.records import FeatureRecord
from sparselex.features.windows import Windows
from sparselex.server.pages.asked import Asked


class Proxy(NamedTuple):
    """An expression that stands for a property of a token, and its words."""

    expression: str
    words: str


PROXIES = (
    Proxy(r"^\s", "a blank in front"),
    Proxy(r"^\s*[A-Z]", "a capital letter first"),
    Proxy(r"[0-9]", "a digit"),
    Proxy(r"^[^\pL\pN]+$", "neither letter nor digit"),
    Proxy(r"\n", "an end of line"),
    Proxy(r"^[A-Za-z0-9+/]{2,}=*$", "letters of base64 alone"),
    Proxy(r"\p{Arabic}", "Arabic"),
    Proxy(r"\p{Hebrew}", "Hebrew"),
    Proxy(r"\p{Han}", "Chinese signs"),
    Proxy(r"\p{Cyrillic}", "Cyrillic"),
    Proxy(r"\p{Devanagari}", "Devanagari"),
    Proxy(r"\p{Tamil}", "Tamil"),
)
"""Offered beside the reader's own expression."""


class ActivityView(Config):
    """A histogram of the activations over all splits, by size."""

    edges: list[float]
    """`n_bins + 1` edges; a bin holds its upper edge, not its lower."""

    counts: list[int]
    """Tokens in each bin."""

    matching: list[int]
    """Of these, tokens whose text matches `colour`; empty where nothing is asked, or it cannot be read."""

    words: str
    """What these tokens are; empty without a colour."""

    error: str
    """Why the expression cannot be read; empty where it can."""


def activity(index: FeatureIndex, record: FeatureRecord, windows: Windows, asked: Asked) -> ActivityView | None:
    """The histogram as it is asked for; None for a latent that is never active."""
    if record.histogram is None:
        return None
    sizes = np.abs(windows.values)
    if asked.axis == "linear":
        edges, counts = record.histogram.edges, record.histogram.counts
    else:
        edges, counts = _log_bins(sizes)
    if not asked.colour:
        return ActivityView(edges=edges, counts=counts, matching=[], words="", error="")
    try:
        matches = _matches(index, windows.positions, asked.colour)
    except (pyarrow.ArrowInvalid, UnicodeEncodeError) as error:
        said = str(error).removeprefix("Invalid regular expression: ")[:200]
        return ActivityView(edges=edges, counts=counts, matching=[], words="", error=said)
    bins = np.clip(np.searchsorted(np.asarray(edges, dtype=np.float32), sizes[matches]) - 1, 0, len(counts) - 1)
    named = next((proxy.words for proxy in PROXIES if proxy.expression == asked.colour), "")
    return ActivityView(
        edges=edges,
        counts=counts,
        matching=np.bincount(bins, minlength=len(counts)).tolist(),
        words=f"with {named}" if named else f"that match {asked.colour}",
        error="",
    )


def _log_bins(sizes: NDArray[np.float32]) -> tuple[list[float], list[int]]:
    """Bins between powers of the square root of two, the same for all latents."""
    low, high = (2 * np.log2(float(end)) for end in (sizes[sizes > 0].min(), sizes.max()))
    edges = 2.0 ** (np.arange(np.ceil(low) - 1, np.ceil(high) + 1) / 2)
    bins = np.clip(np.searchsorted(edges.astype(np.float32), sizes) - 1, 0, len(edges) - 2)
    return edges.tolist(), np.bincount(bins, minlength=len(edges) - 1).tolist()


def _matches(index: FeatureIndex, positions: NDArray[np.int64], expression: str) -> NDArray[np.bool_]:
    """`[n]`, whether the token at each position matches. RE2 takes a time that grows with the text alone, whatever the
    expression: a reader's must not stop the others."""
    tokens = np.asarray(index.corpus.tokens).reshape(-1)[positions]
    distinct, places = np.unique(tokens, return_inverse=True)
    texts = pyarrow.array([index.corpus.vocabulary.text(token) for token in distinct.tolist()], pyarrow.string())
    found = pyarrow.compute.match_substring_regex(texts, expression).to_numpy(zero_copy_only=False)
    return found[places]
