"""What is said of pairs of latents of two indexes: the texts that both have, and the tokens that they call active."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sparselex.base.files import fingerprint
from sparselex.explain.embedding.words import spoken
from sparselex.explain.keys import KeyTable
from sparselex.explain.records import Explanation
from sparselex.explain.rules import rule_of
from sparselex.explain.store import ExplanationStore


def said_of(store: ExplanationStore, *index_ids: str) -> str:
    """Fingerprint of all explanations of these indexes; empty where none of them has any."""
    if not any(_who(store, one) for one in index_ids):
        return ""
    return fingerprint([store.fingerprint(one) for one in index_ids])


def common_explainers(store: ExplanationStore, a: str, b: str) -> tuple[str, ...]:
    """Who has explained latents of both indexes, rules last: they are prints of tables."""
    both = _who(store, a) & _who(store, b)
    return tuple(sorted(both, key=lambda name: (name == "rule", name)))


def _who(store: ExplanationStore, index_id: str) -> set[str]:
    """Who has explained a latent of an index; abstentions and failures are no explanations."""
    return {name for name, _, n_explained in store.explainers(index_id) if n_explained}


def explained(store: ExplanationStore, index_id: str, explainer: str) -> dict[int, Explanation]:
    """What an explainer says, by latent. An abstention or a failure has a text, and is no explanation."""
    return {one.latent: one for one in store.all(index_id, explainer) if one.status == "explained"}


def texts_of(said: Mapping[int, Explanation], latents: NDArray[np.int64], known: dict[str, int]) -> NDArray[np.int64]:
    """`[n]`, the number of each latent's text in `known`, which takes up new ones; -1 for one without a text."""
    found = np.full(len(latents), -1, dtype=np.int64)
    for place, latent in enumerate(latents.tolist()):
        if latent in said:
            text = spoken(said[latent].text, printed=said[latent].predictor is not None)
            found[place] = known.setdefault(text, len(known))
    return found


def called_by(said: Mapping[int, Explanation], latents: NDArray[np.int64], table: KeyTable) -> csr_array | None:
    """`[n, n_tokens]`, ones where the rule of each latent calls a token active; None where no explanation is a
    rule."""
    rules = [rule_of(said[latent].predictor) if latent in said else None for latent in latents.tolist()]
    if not any(rules):
        return None
    nothing = np.empty(0, dtype=np.int64)
    ranks = [np.sort(table.called(rule).ranks) if rule else nothing for rule in rules]
    ends = np.cumsum([0, *map(len, ranks)])
    places = np.concatenate(ranks).astype(np.int32)
    return csr_array((np.ones(len(places), dtype=np.float32), places, ends), shape=(len(ranks), table.n))
