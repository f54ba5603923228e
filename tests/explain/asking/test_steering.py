"""What is amplified, on a real model: prompts, strengths, and what is scored of what is written then."""

import numpy as np
import pytest
import torch

from sparselex.base.seeds import generator
from sparselex.causal.edits import bound, steer
from sparselex.causal.where import Where
from sparselex.explain.asking import steering
from sparselex.explain.asking.ask import ask
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.steering import directions_of, prompts, random_directions, written
from sparselex.explain.asking.store import AskedStore
from sparselex.explain.evidence import HeldOut
from sparselex.explain.store import ExplanationStore
from sparselex.recipes.work.ask import subject_of
from tests.support.reader import ReadingModel
from tests.support.small import small_run

SMALL = AskConfig(
    latents=3, min_active=40, window=16, examples=8, null_share=1.0, check=0, prompts=12, kl=0.5, passages=4
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = small_run(tmp_path_factory.mktemp("steered"))
    for verb in ("train", "index"):
        run.do(verb)
    return run


@pytest.fixture(scope="module")
def often(run):
    return int(np.argsort(-run.index.table["test_n_active"])[5])


def test_prompts_end_where_the_latent_is_active(run, often):
    held_out = HeldOut(run.index)
    given = prompts(held_out, often, 12, 16, generator(0, "x"))
    column, tokens = held_out.column(often), held_out.tokens
    assert given.tokens.shape == (12, 16) and len(set(given.ranks.tolist())) == 12
    flat = run.corpus.tokens.reshape(-1)
    for row, rank, value in zip(given.tokens, given.ranks, given.values, strict=True):
        position = int(tokens.positions[rank])
        assert (flat[position - 15 : position + 1] == row).all(), "one piece of text"
        assert position // run.corpus.n_ctx == (position - 15) // run.corpus.n_ctx
        assert value == column.values[np.searchsorted(column.ranks, rank)] > 0
        assert position // run.corpus.n_ctx in run.corpus.row_ranges["test"]


def test_what_is_added_has_the_effect_that_was_asked_for(run, often):
    subject = subject_of(run)
    given = prompts(HeldOut(run.index), often, 8, 16, generator(0, "x"))
    made = written(subject, given, directions_of(subject, often), 0.5, 4, seed=3)
    assert made.tuned.converged and made.clean.shape == made.steered.shape == (8, 4)
    start = torch.tensor(subject.start, dtype=torch.long).expand(8, -1)
    rows = torch.cat([start, torch.from_numpy(given.tokens)], dim=1)
    edits = steer(subject.latents, often, made.tuned.strength, Where(since=torch.tensor([rows.shape[1] - 1])))
    clean = run.model.run(rows).logits[:, -1].double().log_softmax(-1)
    changed = run.model.run(rows, edits=bound(edits)).logits[:, -1].double().log_softmax(-1)
    slow = float((clean.exp() * (clean - changed)).sum(-1).mean())
    assert slow == pytest.approx(made.tuned.divergence, rel=1e-3) and slow == pytest.approx(0.5, rel=0.11)
    again = written(subject, given, directions_of(subject, often), 0.5, 4, seed=3)
    assert bool((again.steered == made.steered).all()) and bool((again.clean == made.clean).all())


def test_random_directions_are_as_long(run, often):
    own = directions_of(subject_of(run), often)
    other = random_directions(own, generator(0, "r"))
    for hook, direction in own.items():
        assert float(other[hook].norm()) == pytest.approx(float(direction.norm()), rel=1e-5)
        assert abs(float(torch.cosine_similarity(other[hook], direction, dim=0))) < 0.3


def test_gains_are_those_of_the_passages_that_were_read(run, tmp_path):
    model, index = ReadingModel(), run.index
    config = SMALL.model_copy(update={"judges": ("intervention",)})
    found = ask(
        index,
        config,
        model,
        tmp_path / "w.sqlite",
        tmp_path / "x",
        inputs={"index": index.id},
        subject=lambda: subject_of(run),
    )
    store = ExplanationStore(tmp_path / "w.sqlite")
    scores = [s for s in store.scores(index.id) if s.metric == "gain"]
    assert scores, [store.failures(index.id), found]
    by_note = {}
    for request in model.asked:
        if request.purpose == "intervention":
            (token,) = model.answer(request).tokens
            by_note.setdefault(request.continuation.removesuffix('"'), []).append(token.logprob)
    explanation = {e.latent: e.text for e in store.all(index.id, "llm")}
    for latent, text in explanation.items():
        gain = {s.metric: s for s in store.scores(index.id, latent=latent)}.get("gain")
        if gain is None:
            continue
        logs, n = np.array(by_note[text]), gain.n
        means = [logs[at : at + n].mean() - logs[at + n : at + 2 * n].mean() for at in range(len(logs) - 2 * n + 1)]
        assert 5 <= n <= 12 and np.isclose(means, gain.value).any()
        assert gain.ci_low is None or gain.ci_low <= gain.value <= gain.ci_high
    variants = {row.variant for row in AskedStore(tmp_path / "w.sqlite").of_index(index.id, "llm") if row.judge}
    assert variants == {"intervention.v1, KL 0.5, 8 tokens written"}


def test_passages_written_to_order_are_read_by_the_model_itself(run, tmp_path):
    model, index, subject = ReadingModel(), run.index, subject_of(run)
    config = SMALL.model_copy(update={"judges": ("generation",)})
    ask(
        index, config, model, tmp_path / "w.sqlite", tmp_path / "x", inputs={"index": index.id}, subject=lambda: subject
    )
    store = ExplanationStore(tmp_path / "w.sqlite")
    checked = 0
    for explanation in store.all(index.id, "llm"):
        scores = {s.metric: s for s in store.scores(index.id, latent=explanation.latent)}
        asked = [
            one for one in model.asked if one.purpose == "generation" and explanation.text in one.messages[1].content
        ]
        if not asked or "fires" not in scores:
            continue
        texts = list(model._written(asked[0]).values())
        peaks = []
        for text in texts:
            row, codes, counted = run.prompts.codes(text)
            values = [
                float(value)
                for token in range(row.shape[1])
                if bool(counted[token])
                for value, number in zip(
                    codes.values[int(codes.indptr[token]) : int(codes.indptr[token + 1])],
                    codes.indices[int(codes.indptr[token]) : int(codes.indptr[token + 1])],
                    strict=True,
                )
                if int(number) == explanation.latent
            ]
            peaks.append(max(values, default=0.0))
        assert scores["fires"].value == np.mean(np.array(peaks) > 0) and scores["fires"].n == 4
        checked += 1
    assert checked


def test_a_run_without_its_model_says_so(run, tmp_path):
    config = SMALL.model_copy(update={"judges": ("intervention", "generation")})
    found = ask(
        run.index, config, ReadingModel(), tmp_path / "w.sqlite", tmp_path / "x", inputs={"index": run.index.id}
    )
    assert found.unfit.endswith("the model of these latents is not at hand")


def test_what_cannot_be_reached_is_a_failure(run, tmp_path, monkeypatch):
    monkeypatch.setattr(steering, "tuned", lambda *_, **__: steering.Tuned(10.0, 0.01, False))
    config = SMALL.model_copy(update={"judges": ("intervention",)})
    subject = lambda: subject_of(run)
    inputs = {"index": run.index.id}
    found = ask(
        run.index, config, ReadingModel(), tmp_path / "w.sqlite", tmp_path / "x", inputs=inputs, subject=subject
    )
    assert found.n_unscored == found.n_explained > 0
    reason = ExplanationStore(tmp_path / "w.sqlite").failures(run.index.id)[0].reason
    assert reason == "no strength changes the prediction by 0.5 nats: 10 of its activation changes it by 0.01"
