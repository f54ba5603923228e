"""Public conformance checks: dictionaries, explainers and scorers, ours or a plug-in's, held against what their
interfaces promise. Each raises `AssertionError` naming the broken promise."""

import json
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from sparselex.base.figures import Failure
from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.explain.config import ExplainConfig
from sparselex.explain.evidence import Evidence, HeldOut
from sparselex.explain.protocols import Explainer, Scorer
from sparselex.explain.records import Explanation, Judgement, Score, Scored
from sparselex.features.index import FeatureIndex


def check_dictionary(dictionary: Dictionary, n_tokens: int = 64, seed: int = 0) -> None:
    """Assert what every `Dictionary` promises, on random inputs. Raises `AssertionError` naming the broken promise."""
    x = torch.randn(n_tokens, dictionary.d_in, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        acts, codes = dictionary.encode(x), dictionary.encode_sparse(x)
        _close(codes.dense(), acts, "encode_sparse equals encode")
        assert isinstance(codes, Codes) and len(codes) == n_tokens, "encode_sparse covers every token"
        assert (codes.values != 0).all(), "codes list active latents only"
        _close(dictionary.decode(acts), dictionary.decode_sparse(codes), "decode_sparse equals decode")
        past = dictionary.bypass(x)
        whole = dictionary.decode(acts) if past is None else dictionary.decode(acts) + past
        _close(dictionary(x), whole, "forward is decode after encode, and what bypasses the latents")
        assert whole.shape == (n_tokens, dictionary.d_out), "reconstructions are [n, d_out]"
        _close(dictionary.decode(torch.zeros_like(acts[:1])), dictionary.b_dec[None], "no latent decodes to b_dec")
        rows = x.view(2, n_tokens // 2, -1)
        _close(dictionary.encode(rows), acts.view(2, n_tokens // 2, -1), "tokens may stand in rows")
        _close(dictionary(rows), whole.view(2, n_tokens // 2, -1), "tokens may stand in rows")
        halves = torch.cat([dictionary.encode(part) for part in x.split(n_tokens // 2)])
        _close(halves, acts, "a token's code does not depend on its batch")
        assert dictionary.W_dec.shape == (dictionary.d_sae, dictionary.d_out), "W_dec is [d_sae, d_out]"
        assert acts.shape == (n_tokens, dictionary.d_sae), "encode gives [n, d_sae]"
        assert len(dictionary.encode(x[:0])) == 0 and len(dictionary.encode_sparse(x[:0])) == 0, "no tokens are fine"
    x = x.clone().requires_grad_()
    found = dictionary.encode(x)
    if found.requires_grad and (found != 0).any():
        found.sum().backward()
    assert x.grad is not None and x.grad.isfinite().all() and (x.grad != 0).any(), "gradients flow from codes to inputs"


def check_explainer(
    kind: type[Explainer], index: FeatureIndex, *, name: str, options: dict[str, Any] | None = None, n_latents: int = 16
) -> list[Explanation]:
    """Assert what every `Explainer` promises, on `n_latents` latents of an index.

    `name` is the one under which `kind` is or will be registered; `options` are those of `ExplainConfig`. Returns what
    was said, so that a scorer can be tried on it.
    """
    config = ExplainConfig(options=options or {})
    assert isinstance(kind.explained, str) and kind.explained, "`explained` says what an explained latent has"
    explainer = kind(Evidence(index, config.seed), config)
    often = np.flatnonzero(index.table["train_n_active"] >= config.min_active)
    latents = often[:: max(1, len(often) // n_latents)][:n_latents].tolist()
    assert latents, "an index with latents that are active often enough to be explained"
    found = {latent: explainer.explain(latent) for latent in latents}
    for latent, said in found.items():
        assert said == explainer.explain(latent), "the same latent is explained alike when asked again"
        _check_explanation(said, latent, name)
    return [said for said in found.values() if isinstance(said, Explanation)]


def check_scorer(
    kind: type[Scorer], index: FeatureIndex, explanations: Iterable[Explanation], *, name: str
) -> dict[int, Scored | Failure]:
    """Assert what every `Scorer` promises, on explanations of latents of an index, of which it can score one at least.

    `name` is the one under which `kind` is or will be registered. Returns what was made of each latent.
    """
    config = ExplainConfig()
    assert kind.headline in kind.definitions, "`headline` is one of the metrics in `definitions`"
    assert all(kind.definitions.values()), "`definitions` says of every metric what it is"
    held_out = HeldOut(index, config.seed)
    scorer, found = kind(held_out, config), {}
    for explanation in (e for e in explanations if e.status == "explained"):
        scored = found[explanation.latent] = scorer.score(explanation)
        assert scored == scorer.score(explanation), "the same explanation is scored alike when asked again"
        assert isinstance(scored, Scored | Failure), "`score` gives Scored or a Failure"
        if isinstance(scored, Failure):
            assert scored.reason, "a failure says why"
            continue
        rows: list[Score | Judgement] = [*scored.scores, *scored.judgements]
        by = {(row.explainer, row.scorer) for row in rows}
        assert by <= {(explanation.explainer, name)}, "rows name who made them"
        _check_scores(scored.scores, kind.definitions)
        _check_judgements(scored.judgements, held_out, explanation.latent)
    assert any(isinstance(scored, Scored) for scored in found.values()), "at least one explanation is scored"
    return found


def _check_explanation(found: Explanation | Failure, latent: int, name: str) -> None:
    assert isinstance(found, Explanation | Failure), "`explain` gives an Explanation or a Failure"
    if isinstance(found, Failure):
        assert found.reason, "a failure says why"
        return
    assert (found.latent, found.explainer) == (latent, name), "an explanation names its latent and its explainer"
    assert found.status != "failed", "what failed is given as a Failure"
    assert found.text and found.title, "there are words, or the reason for an abstention, and a title"
    assert json.loads(json.dumps(found.predictor)) == found.predictor, "the predictor is JSON"


def _check_scores(scores: list[Score], definitions: dict[str, str]) -> None:
    metrics = [score.metric for score in scores]
    assert len(set(metrics)) == len(metrics) and set(metrics) <= set(definitions), "each defined metric at most once"
    for score in scores:
        ends = [end for end in (score.ci_low, score.ci_high) if end is not None]
        assert all(map(math.isfinite, [*ends, score.value, score.null or 0.0])), "what cannot be formed is left out"
        assert score.n > 0, "a score says over how many observations it is"
        assert ends == sorted(ends), "an interval goes from low to high"


def _check_judgements(judgements: list[Judgement], held_out: HeldOut, latent: int) -> None:
    tokens, column = held_out.tokens, held_out.column(latent)
    activations = dict(zip(tokens.positions[column.ranks].tolist(), column.values.tolist(), strict=True))
    positions = [judgement.position for judgement in judgements]
    assert len(set(positions)) == len(positions), "each position is judged once"
    assert set(positions) <= set(tokens.positions.tolist()), "judged positions are counted test tokens"
    for judgement in judgements:
        assert judgement.expected == activations.get(judgement.position, 0.0), "`expected` is the activation, by size"
        assert judgement.said is None or math.isfinite(judgement.said), "`said` is a number, or None without an answer"


def _close(found: torch.Tensor, expected: torch.Tensor, promise: str) -> None:
    torch.testing.assert_close(
        found, expected, rtol=1e-4, atol=1e-5, msg=lambda text: f"broken promise: {promise}\n{text}"
    )
