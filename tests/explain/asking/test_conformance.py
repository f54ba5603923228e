"""Every writer and every judge of ours keeps what writers and judges promise, and those that break a promise are told
which."""

import json

import numpy as np
import pytest

from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.judges.detection import Detection
from sparselex.explain.asking.judges.logits import Logits
from sparselex.explain.asking.registry import JUDGES, WRITERS
from sparselex.explain.asking.writers.examples import Writer
from sparselex.explain.evidence import Evidence, HeldOut
from sparselex.explain.records import Explanation
from sparselex.llm.talks import hold
from sparselex.recipes.work.ask import subject_of
from sparselex.testing import check_judge, check_writer
from tests.support.judge import ScriptedModel, description, passages
from tests.support.planted import with_neighbours
from tests.support.reader import ReadingModel
from tests.support.small import small_run
from tests.support.small_encoder import write_encoder

CHARS = "".join(chr(95 + token) for token in (5, 9))
LIVE = ("intervention", "generation", "logits")
"""Judges that look at the model itself."""


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return str(write_encoder(tmp_path_factory.mktemp("encoder") / "small"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = small_run(tmp_path_factory.mktemp("checked"))
    for verb in ("train", "index"):
        run.do(verb)
    return run


def said(latent, text):
    return Explanation(latent=latent, explainer="llm", status="explained", text=text, title=text)


@pytest.mark.parametrize("name", [name for name in JUDGES.names() if name not in LIVE])
def test_judges_of_text_keep_their_promises(name, encoder):
    config = AskConfig(window=8, active=12, silent=12, hard=6, intruders=8, encoder=encoder)
    explanations = [said(0, f"any of the characters {CHARS}"), said(1, "any of the characters xy")]
    found = check_judge(
        JUDGES.get(name), with_neighbours(), ReadingModel(of=CHARS), explanations, name=name, config=config
    )
    assert set(found) == {0, 1}


@pytest.mark.parametrize("name", LIVE)
def test_judges_of_the_model_keep_their_promises(name, run):
    often = np.argsort(-run.index.table["test_n_active"])[4:6].tolist()
    explanations = [said(latent, "any of the characters se") for latent in often]
    config = AskConfig(window=16, prompts=8, kl=0.5, passages=3)
    check_judge(
        JUDGES.get(name),
        run.index,
        ReadingModel(),
        explanations,
        name=name,
        config=config,
        subject=lambda: subject_of(run),
    )


class Knows(ScriptedModel):
    """Says of tokens what is so by its own explanation, and the opposite by any other; or always the same."""

    def __init__(self, raised, *, always=None):
        super().__init__()
        self.raised, self.always = raised, always

    def votes(self, request):
        own = description(request) == "its own"
        said = lambda text: int((text in self.raised) == own) if self.always is None else self.always
        return json.dumps({str(number): said(text) for number, text in enumerate(passages(request), 1)})


def test_tokens_that_a_latent_raises_are_told_from_others(run):
    latent = int(np.argmax(run.index.table["test_n_active"]))
    judge = Logits(Evidence(run.index), HeldOut(run.index), AskConfig(), lambda: subject_of(run))
    items, weights = judge.items(latent), judge.weights(latent)
    raised = {item.text for item in items if item.kind == "active"}
    assert 2 * len(raised) == len(items) >= 10 and len({item.window for item in items}) == len(items)
    assert min(weights[one.window] for one in items if one.kind == "active") >= max(
        weights[one.window] for one in items if one.kind == "silent"
    )
    index_tops = [one.token for one in run.index.record(latent).logits_top]
    assert weights[index_tops].min() > np.median(weights), "they are the weights that the index ranks"

    def scores(client, another=None):
        talk = judge.talk(said(latent, "its own"), another, client.capabilities())
        ((_, told),) = hold(client, [(0, talk)], most_open=1)
        return {one.metric: one for one in told.found.scores}

    known = scores(Knows(raised), "another's")
    assert [known[name].value for name in ("accuracy", "recall", "specificity")] == [1, 1, 1]
    assert known["accuracy"].null == 0 and known["accuracy"].n == len(items)
    same = scores(Knows(raised, always=1))
    assert (same["accuracy"].value, same["recall"].value, same["specificity"].value) == (0.5, 1, 0)
    assert same["accuracy"].null is None and same["unanswered"].value == 0


@pytest.mark.parametrize("name", WRITERS.names())
def test_writers_keep_their_promises(name):
    config = AskConfig(window=8, examples=10)
    check_writer(WRITERS.get(name), with_neighbours(), ReadingModel(), config=config)


def test_a_broken_promise_is_named():
    explanations = [said(0, "any of the characters x")]
    config = AskConfig(window=8, active=6, silent=6, hard=0)

    class Silent(Detection):
        headline = "charm"

    class Mute(Writer):
        explained = ""

    with pytest.raises(AssertionError, match="`headline` is one of the metrics"):
        check_judge(Silent, with_neighbours(), ReadingModel(), explanations, name="detection", config=config)
    with pytest.raises(AssertionError, match="rows name who made them"):
        check_judge(Detection, with_neighbours(), ReadingModel(), explanations, name="another", config=config)
    with pytest.raises(AssertionError, match="`explained` says"):
        check_writer(Mute, with_neighbours(), ReadingModel(), config=config)
