"""The whole pipeline with a real model in this process as the one who reads: rules judged by surprisal and by
intervention, each figure held against the model itself."""

import numpy as np
import pytest
import torch

from sparselex.explain.asking.answers import nats_of
from sparselex.explain.asking.store import AskedStore
from sparselex.explain.asking.words import one_line, prompt
from sparselex.explain.store import ExplanationStore
from sparselex.llm.local import LocalClient
from sparselex.llm.records import Message, Request
from sparselex.recipes.work.ask import speaker_of
from tests.support.small import small_run

OPTIONS = {
    "writer": "rule",
    "llm": "local",
    "judges": ("surprisal", "intervention"),
    "latents": 40,
    "window": 16,
    "active": 6,
    "silent": 6,
    "hard": 0,
    "prompts": 6,
    "kl": 0.5,
    "null_share": 0.5,
    "check": 0,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = small_run(tmp_path_factory.mktemp("whole"))
    for verb in ("train", "index", "explain"):
        run.do(verb)
    return run


def slowly(speaker, before, behind):
    """The log-probability of a text behind another, read by itself."""
    with LocalClient(speaker) as client:
        request = Request(messages=(Message("user", before),), continuation=behind, max_tokens=1)
        return nats_of(client.submit(request).result())


def check_whole(run, model):
    """Judge the rules of a run by a model, and hold what was said of one latent against that model."""
    found = run.do("explain-llm", llm_model=model, **OPTIONS)
    store, asked = ExplanationStore(run.workspace.database), AskedStore(run.workspace.database)
    scores = [one for one in store.scores(run.index.id, explainer="rule") if one.scorer == "surprisal"]
    assert scores and found.model == model and not found.unfit
    names = {figure.name for figure in found.figures}
    assert {"explain/rule/surprisal/auroc", "explain/rule/intervention/gain"} <= names
    aurocs = [one for one in scores if one.metric == "auroc"]
    assert any(one.null is not None for one in aurocs), "some have their null"
    rules = {one.latent: one for one in store.all(run.index.id, "rule") if one.status == "explained"}
    latent = min(
        latent for latent in rules if any(one.judge == "surprisal" for one in asked.of_latent(run.index.id, latent))
    )
    speaker, note = speaker_of(model), prompt("surprisal.v1")
    windows = [one for one in asked.seen(run.index.id, latent) if one.judge == "surprisal"]
    gains = {True: [], False: []}
    for one in windows:
        told, untold = (
            slowly(speaker, note.substitute(description=text), f" {one.text}")
            for text in (one_line(rules[latent].text), "text of any kind")
        )
        gains[one.kind == "active"].append(told - untold)
    pairs = np.array(gains[True])[:, None] - np.array(gains[False])
    slow = float((pairs > 1e-6).mean() + (np.abs(pairs) <= 1e-6).mean() / 2)
    stored = {
        s.metric: s.value
        for s in store.scores(run.index.id, latent=latent, explainer="rule")
        if s.scorer == "surprisal"
    }
    assert stored["auroc"] == pytest.approx(slow, abs=1 / pairs.size + 1e-9), "but for one pair that rounding turns"


def test_rules_are_judged_by_the_embedded_model(run):
    with torch.random.fork_rng():
        check_whole(run, "embedded")


def test_rules_are_judged_by_another_model(run, shared_data):
    check_whole(run, str(shared_data / "lm" / "stories260K"))
