"""Silent windows that are easily mistaken, against slow searches; recall from the weakest tenth to the strongest."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparselex.base.errors import UserError
from sparselex.explain.asking.ask import ask
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.drawing import Drawing
from sparselex.explain.asking.judging import DEFINITIONS
from sparselex.explain.asking.mistaken import Mistaken
from sparselex.explain.asking.store import AskedStore
from sparselex.explain.asking.tenths import recall_by_tenth, tenth_figures
from sparselex.explain.embedding.config import EmbedConfig
from sparselex.explain.embedding.vectors import Vectors
from sparselex.explain.evidence import Evidence, HeldOut
from sparselex.explain.store import ExplanationStore
from tests.support.judge import ScriptedModel
from tests.support.planted import with_neighbours
from tests.support.small_encoder import write_encoder

SIZE, ALL = 8, ("token", "neighbour", "cofiring", "alike")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return str(write_encoder(tmp_path_factory.mktemp("encoder") / "small"))


@pytest.fixture(scope="module")
def index():
    return with_neighbours()


@pytest.fixture
def config(encoder):
    return AskConfig(window=SIZE, active=20, silent=10, hard=20, negatives=ALL, encoder=encoder, check=0)


@pytest.fixture
def mistaken(index, config):
    held_out = HeldOut(index)
    return Mistaken(Evidence(index).train, held_out, held_out.windows(SIZE), config)


def slow(index):
    """Of the usable windows of test documents the activations `[n_tokens, n_latents]` and the tokens."""
    held_out = HeldOut(index)
    windows = held_out.windows(SIZE)
    acts = index.acts[held_out.tokens.positions]
    usable = [number for number in range(len(windows)) if windows.usable[number]]
    ranges = {number: list(windows.ranks(number)) for number in usable}
    return {number: (acts[r], held_out.tokens.tokens[r]) for number, r in ranges.items()}


@pytest.mark.parametrize("latent", [0, 1, 2, 3])
def test_kinds_equal_slow_searches(index, mistaken, latent):
    windows = slow(index)
    silent = {number for number, (acts, _) in windows.items() if not acts[:, latent].any()}
    others = [other for other in range(4) if other != latent]
    for kind, near in (("neighbour", others[:3]), ("cofiring", others[::-1][:3])):
        expected = {number for number in silent if windows[number][0][:, near].any()}
        assert set(mistaken.of(kind, latent).tolist()) == expected, kind
    train = Evidence(index).train
    seen = train.tokens.tokens[train.column(latent).ranks]
    often = sorted(set(seen.tolist()), key=lambda token: (-int((seen == token).sum()), token))[:5]
    expected = {number for number in silent if np.isin(windows[number][1], often).any()}
    assert set(mistaken.of("token", latent).tolist()) == expected


def test_those_of_like_meaning_are_the_nearest_silent_ones(index, mistaken, encoder):
    found, windows = mistaken.of("alike", 0), slow(index)
    silent = [number for number, (acts, _) in windows.items() if not acts[:, 0].any()]
    n = min(40, len(silent))
    assert len(found) == n and set(found.tolist()) <= set(silent)
    drawing = Drawing(Evidence(index), HeldOut(index), AskConfig(window=SIZE))
    texts = {number: _text(drawing, number) for number in silent}
    vectors = dict(zip(texts, Vectors(EmbedConfig(encoder=encoder)).of(list(texts.values())), strict=True))
    left = [number for number in silent if number not in set(found.tolist())]
    towards = np.mean([vectors[number] for number in found.tolist()], axis=0)
    near, far = (np.mean([vectors[number] @ towards for number in some]) for some in (found.tolist(), left or found))
    assert near >= far


def _text(drawing, number):
    ranks = drawing.windows.ranks(number)
    return drawing.test.vocabulary.decode(drawing.test.tokens.tokens[ranks.start : ranks.stop].tolist())


def test_every_kind_is_judged_and_measured(index, config, tmp_path):
    model = ScriptedModel(0.2, 0.1)
    found = ask(index, config, model, tmp_path / "w.sqlite", tmp_path / "x", inputs={"index": index.id})
    scores = ExplanationStore(tmp_path / "w.sqlite").scores("planted", explainer="llm")
    for kind in ALL:
        measured = [one for one in scores if one.metric == f"{kind}_specificity"]
        assert measured and {one.scorer for one in measured} == {"detection"}
        assert {one.n for one in measured} <= set(range(1, 6)), "a quarter of twenty"
        assert f"explain/llm/detection/{kind}_specificity" in {one.name for one in found.figures}
    seen = [one for latent in range(4) for one in AskedStore(tmp_path / "w.sqlite").seen("planted", latent)]
    assert set(ALL) <= {one.kind for one in seen}
    assert {f"{kind}_specificity" for kind in ALL} <= DEFINITIONS.keys()


def test_without_an_encoder_like_meanings_are_refused_before_anything_is_asked(index, tmp_path):
    config = AskConfig(window=SIZE, negatives=("alike",), encoder=str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="like meaning"):
        ask(index, config, ScriptedModel(), tmp_path / "w.sqlite", tmp_path / "x", inputs={"index": index.id})
    assert not (tmp_path / "w.sqlite").exists() or not ExplanationStore(tmp_path / "w.sqlite").latents()


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 99), st.sampled_from([None, 0.0, 0.4, 0.6, 1.0])), max_size=60))
def test_tenths_equal_slow_ones(rows):
    judged = [(expected + place / 1000 if expected else 0.0, said) for place, (expected, said) in enumerate(rows)]
    active = sorted(one for one in judged if one[0] > 0)
    slow = []
    for tenth in range(10):
        own = [said for place, (_, said) in enumerate(active) if place * 10 // len(active) == tenth]
        own = [said for said in own if said is not None]
        slow.append(np.mean([said > 0.5 for said in own]) if own and len(active) >= 10 else np.nan)
    assert recall_by_tenth(judged) == pytest.approx(np.array(slow), nan_ok=True)


def test_a_judge_of_the_strong_half_is_seen_to_be_one():
    judged = {latent: [(n + 1.0, float(n >= 25)) for n in range(50)] + [(0.0, 0.0)] * 30 for latent in range(20)}
    figures = tenth_figures("explain/llm/detection", judged, 0.1, "nothing")
    assert [one.value for one in figures] == [0.0] * 5 + [1.0] * 5
    assert {one.n for one in figures} == {20} and {one.null for one in figures} == {0.1}
    empty = tenth_figures("explain/llm/detection", {}, None, "nothing was judged")
    assert {one.value for one in empty} == {None} and {one.failure for one in empty} == {"nothing was judged"}
