"""A workspace of many latents to browse, made in a minute: planted activations over real text, through the writers that
write everybody's."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sparselex.base.staging import stage
from sparselex.base.workspace import MAIN, Workspace
from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.types.topk import TopK, TopKConfig
from sparselex.explain.embedding.config import EmbedConfig
from sparselex.explain.embedding.encoder import Encoder
from sparselex.explain.embedding.records import EXPLAINERS, KIND, LATENTS, SAID, VECTORS
from sparselex.explain.records import Explanation, Score, Scored
from sparselex.explain.store import ExplanationStore, Scoring
from sparselex.features.build import build_index
from sparselex.features.config import IndexConfig
from sparselex.features.index import FeatureIndex
from sparselex.recipes.config import new_run
from sparselex.recipes.run import Run

HOOK = "blocks.0.hook_resid_post"
L0 = 8
_BITS = 14
_COMPARED = 16
"""Coordinates by which neighbours are told: comparing all of 100,000 with each other by all of them takes minutes."""

_BATCH = 2000

JUDGES = {"detection": "balanced_accuracy", "embedding": "auroc"}
"""Who judges the sentences of a language model, and by which measure foremost."""


class Hashed(TopK):
    """Latents that are active where signs of random projections agree: on similar tokens in similar contexts, some on
    one in a hundred and many on hardly any, as it is of trained ones; without the product of a hundred thousand rows.
    """

    def __init__(self, d_sae: int):
        super().__init__(TopKConfig(d_in=128, d_sae=d_sae, k=L0), torch.Generator().manual_seed(0))
        generator = torch.Generator().manual_seed(1)
        self.register_buffer("planes", torch.randn(self.d_in, L0 * _BITS, generator=generator))

    def encode_sparse(self, x: Tensor) -> Codes:
        """`L0` latents of each token."""
        projected = (x - x.mean(0)) @ self.planes
        bits = (projected > 0).unflatten(1, (L0, _BITS)).long()
        number = (bits << torch.arange(_BITS)).sum(-1) + (torch.arange(L0) << _BITS)
        latents = (number * 2_654_435_761 % 2**32 % self.d_sae).sort(-1)
        values = projected.unflatten(1, (L0, _BITS)).norm(dim=-1).gather(1, latents.indices)
        new = torch.ones_like(latents.values, dtype=torch.bool)
        new[:, 1:] = latents.values.diff(dim=1) != 0
        indptr = torch.cat([torch.zeros(1, dtype=torch.long), new.sum(1).cumsum(0)])
        return Codes(indptr, latents.values[new], values[new], self.d_sae)

    def directions(self) -> Tensor:
        return self.W_dec.detach()[:, :_COMPARED]


def many_latents(folder: Path, n_latents: int, n_tokens: int) -> Workspace:
    """A workspace whose main run has an index of so many latents, a rule and a score of each, as many sentences with
    the scores of two judges, and embeddings of both (random directions) where the encoder is installed."""
    workspace = Workspace.create(folder)
    run = Run.create(workspace, MAIN, new_run("embedded", "stdlib", n_tokens=n_tokens, hook=HOOK))
    inputs = {"model": run.model.id, "dictionary": "planted", "corpus": run.corpus.id}
    to = workspace.run(MAIN) / "index"
    run.keep()
    index = build_index(run.model, Hashed(n_latents), run.corpus, run.sites, IndexConfig(), to, inputs=inputs)
    store = ExplanationStore(workspace.database)
    _explain(index, store)
    _judge(index, store)
    _embed(index, store, workspace.run(MAIN) / KIND)
    return workspace


def _explain(index: FeatureIndex, store: ExplanationStore) -> None:
    store.define("exact", {"f1": "planted"})
    for latents in _batches(np.flatnonzero(index.table["n_active"])):
        store.add(index.id, "planted", [_explanation(index, latent) for latent in latents])
        scores = {latent: Scored([_score(latent)], []) for latent in latents}
        store.add_scored(index.id, "rule", Scoring("exact", "f1", 0, "planted"), scores)


def _batches(latents: np.ndarray) -> Iterator[list[int]]:
    for start in range(0, len(latents), _BATCH):
        yield latents[start : start + _BATCH].tolist()


def _explanation(index: FeatureIndex, latent: int) -> Explanation:
    """A rule's print of the tokens of the largest activations."""
    positions = index.all_top_positions[latent]
    tokens = dict.fromkeys(index.corpus.tokens.reshape(-1)[positions[positions >= 0]].tolist())
    words = [f'"{index.corpus.vocabulary.text(token)}"' for token in tokens]
    text = f"Active on {', '.join(f'{word} (1.5)' for word in words)}; silent elsewhere."
    title = f"Active on {', '.join(words[:3])}"
    return Explanation(latent=latent, explainer="rule", status="explained", text=text, title=title, predictor={})


def _judge(index: FeatureIndex, store: ExplanationStore) -> None:
    """A language model's sentence for each latent, and two judges' scores of it."""
    for latents in _batches(np.flatnonzero(index.table["n_active"])):
        store.add(index.id, "planted", [_sentence(index, latent) for latent in latents])
        for place, (scorer, metric) in enumerate(JUDGES.items()):
            of = {"explainer": "llm", "scorer": scorer, "metric": metric, "n": 100}
            scores = {latent: Scored([_score(latent + place, **of)], []) for latent in latents}
            store.add_scored(index.id, "llm", Scoring(scorer, metric, place, "planted"), scores)


def _sentence(index: FeatureIndex, latent: int) -> Explanation:
    token = index.corpus.vocabulary.text(int(index.corpus.tokens.reshape(-1)[max(0, index.top_positions[latent])]))
    text = f"names of things that are near {token}, and what follows them in a line of text"
    return Explanation(latent=latent, explainer="llm", status="explained", text=text, title=text[:40])


def _score(latent: int, explainer: str = "rule", scorer: str = "exact", metric: str = "f1", n: int = 1000) -> Score:
    value = latent * 0.618 % 1
    of = {"explainer": explainer, "scorer": scorer, "metric": metric, "n": n}
    return Score(value=value, ci_low=value * 0.9, ci_high=value * 1.1, null=0.1 * value, **of)


def _embed(index: FeatureIndex, store: ExplanationStore, to: Path) -> None:
    config = EmbedConfig()
    inputs = {"index": index.id, "encoder": Encoder(config.encoder).id, SAID: store.fingerprint(index.id)}
    said = store.explained(index.id)
    names = sorted({name for _, name in said})
    latents = np.array([latent for latent, _ in said])
    explainers = np.array([names.index(name) for _, name in said], dtype=np.int32)
    vectors = np.random.default_rng(0).standard_normal((len(latents), 384), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with stage(to, KIND, config, inputs) as staging:
        for name, values in ((LATENTS, latents), (EXPLAINERS, explainers), (VECTORS, vectors.astype(np.float16))):
            data = io.BytesIO()
            np.save(data, values)
            (staging.folder / name).write_bytes(data.getvalue())
        n_latents = len(np.unique(latents))
        staging.finish({"n_latents": n_latents, "n_vectors": len(latents), "explainers": names, "width": 384})
