"""What is said more often of the latents of a cluster than of all."""

import re
from collections import Counter
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sparselex.atlas.maps.records import ClusterWord

_WORD = re.compile(r"[^\W\d_][^\W_]*")
_LEAST_SAID = 2
"""Latents of a cluster of which a word must be said."""

_MORE = 2
"""How many times as common a word must be in a cluster as on the map: else words of every explanation come first."""


def typical_words(cluster: NDArray[np.int32], said: Mapping[int, str], n: int) -> list[list[ClusterWord]]:
    """The `n` words that are at least twice as common in the explanations of each cluster as in those of all latents on
    the map, by the difference of the two shares, in the order of the clusters.

    Args:
        cluster: `[n_latents]`, the cluster of each latent; -1 for one in none, -2 for one that is not on the map.
        said: explanations by latent; latents without one count for no share.
        n: words of a cluster at most.
    """
    words = {j: set(_WORD.findall(text.lower())) for j, text in said.items() if cluster[j] != -2}
    everywhere = Counter(word for found in words.values() for word in found)
    members: dict[int, list[set[str]]] = {}
    for latent, found in words.items():
        members.setdefault(int(cluster[latent]), []).append(found)
    return [
        _typical(members.get(number, []), everywhere, len(words), n)
        for number in range(int(cluster.max(initial=-1)) + 1)
    ]


def _typical(inside: list[set[str]], everywhere: Counter[str], n_all: int, n: int) -> list[ClusterWord]:
    counts = Counter(word for found in inside for word in found)
    rows = [
        ClusterWord(word=word, share=count / len(inside), share_of_all=everywhere[word] / n_all)
        for word, count in counts.items()
        if count >= _LEAST_SAID
    ]
    more = [row for row in rows if row.share >= _MORE * row.share_of_all]
    return sorted(more, key=lambda row: (row.share_of_all - row.share, row.word))[:n]
