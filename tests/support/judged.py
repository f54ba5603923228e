"""What language models would have said of an index and what judges would have made of it, written as they write it."""

from pathlib import Path

from sparselex.base.figures import Failure
from sparselex.explain.records import Explanation, Score, Scored
from sparselex.explain.store import ExplanationStore, Scoring

JUDGES = {"detection": "balanced_accuracy", "embedding": "auroc"}
"""Judges with their foremost measures."""


def judge(database: Path, index_id: str, explainer: str, latents: list[int], words: str = "words of") -> None:
    """Let an explainer say something of these latents, and two judges score it: other numbers by each latent, judge
    and explainer, a null for every second latent, no interval for every third, and a failure of the second judge for
    every fifth."""
    store = ExplanationStore(database)
    said = [_explanation(latent, explainer, f"{words} {explainer} on {latent}") for latent in latents]
    store.add(index_id, "written", said)
    for place, (scorer, metric) in enumerate(JUDGES.items()):
        found = {latent: _scored(explainer, scorer, metric, latent) for latent in latents}
        store.add_scored(index_id, explainer, Scoring(scorer, metric, place, "judged"), found)
        store.define(scorer, {metric: "how well it does", "lookup": "without it"})


def _explanation(latent: int, explainer: str, text: str) -> Explanation:
    return Explanation(latent=latent, explainer=explainer, status="explained", text=text, title=text[:20])


def _scored(explainer: str, scorer: str, metric: str, latent: int) -> Scored | Failure:
    if scorer == "embedding" and latent % 5 == 0:
        return Failure(subject=f"latent {latent}", reason="no answer")
    value = (7 * latent + 3 * len(explainer) + 5 * len(scorer)) % 11 / 10
    ends = (None, None) if latent % 3 == 0 else (value - 0.2, value + 0.2)
    of = {"explainer": explainer, "scorer": scorer, "ci_low": ends[0], "ci_high": ends[1], "n": 50 + latent}
    null = 0.5 if latent % 2 else None
    scores = [Score(**of, metric=metric, value=value, null=null), Score(**of, metric="lookup", value=0.6, null=None)]
    return Scored(scores, [])
