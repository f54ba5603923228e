"""Judges of which each is tried by what it does, over real HTTP: what comes of it is what is known of the judge, and
one at chance scores nothing and costs no more than its trial."""

import json
import re
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sparselex.base.seeds import generator
from sparselex.base.workspace import Workspace
from sparselex.explain.asking.ask import ask
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.judges.examples import Examples
from sparselex.explain.asking.judges.intruder import Intruder
from sparselex.explain.asking.known import Known, Tried, doubt
from sparselex.explain.asking.known_words import Words
from sparselex.explain.asking.words import plain
from sparselex.explain.embedding.config import EmbedConfig
from sparselex.explain.embedding.embed import TextEncoder
from sparselex.explain.evidence import Evidence, HeldOut
from sparselex.explain.store import ExplanationStore
from sparselex.llm.config import LLMConfig
from sparselex.llm.http import HTTPClient
from sparselex.llm.talks import hold
from sparselex.lm.embedded import EMBEDDED
from sparselex.recipes.run import Run
from sparselex.recipes.work.ask import subject_of
from tests.support.chat import chat_server
from tests.support.command import sparselex
from tests.support.judge import draw, over_http, purpose_of
from tests.support.reader import ReadingModel
from tests.support.small import TRAINING, small_config
from tests.support.small_encoder import write_encoder

CONFIG = AskConfig(window=16, latents=3, null_share=0.0, intruders=5, passages=10)


def write_words(folder: Path, n: int = 60) -> Path:
    """Documents of words that are single tokens of the embedded model."""
    folder.mkdir(parents=True)
    vocabulary = json.loads((Path(EMBEDDED["embedded"]) / "tokenizer.json").read_text())["model"]["vocab"]
    words = sorted(token[1:] for token in vocabulary if re.fullmatch("Ġ[a-z]{4,8}", token))[::10][:70]
    rng = np.random.default_rng(0)
    for number in range(n):
        lines = (" ".join(["of", *rng.choice(words, 12)]) for _ in range(25))
        (folder / f"doc-{number:03d}.py").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    config = small_config(write_words(folder / "text"), TRAINING)
    run = Run.create(Workspace.create(folder / "w"), "main", config)
    for verb in ("train", "index"):
        run.do(verb)
    return run


@pytest.fixture
def walk(run, tmp_path):
    """Asks a scripted model behind a server of this machine."""

    def act(model, *judges, **more):
        config = CONFIG.model_copy(update={"judges": judges, **more})
        with chat_server(over_http(model)) as server:
            path = tmp_path / "w.sqlite"
            with HTTPClient(LLMConfig(url=server.url, model="scripted"), path) as client:
                inputs, subject = {"index": run.index.id}, cache(lambda: subject_of(run))
                found = ask(run.index, config, client, path, tmp_path / "x", inputs=inputs, subject=subject)
            return found, [body["messages"] for body in server.asked if "messages" in body]

    return act


def figure_of(found, kind):
    return next(one for one in found.figures if one.name == f"explain/llm/judge_{kind}")


def of_purpose(asked, purpose):
    return [messages for messages in asked if purpose_of(messages[0]["content"]) == purpose]


def words_of(run, **more):
    return Words(Evidence(run.index).validation, CONFIG.model_copy(update=more))


@pytest.mark.parametrize("omits", [0.0, 0.3])
def test_a_writer_of_passages_is_tried_by_the_words_that_they_hold(walk, omits):
    found, asked = walk(ReadingModel(omits=omits), "generation")
    figure = figure_of(found, "generation")
    assert figure.value == pytest.approx(1 - omits) and (figure.null, figure.n) == (0.0, 12) and not found.unfit
    assert len(of_purpose(asked, "generation")) > 12, "latents are asked about"
    assert f"{round(120 * (1 - omits))} of the 120 written" in figure.definition


def test_words_that_stand_everywhere_are_the_null(walk, run):
    rng = np.random.default_rng(0)
    word = words_of(run).drawn(rng)[0].text
    found, _ = walk(ReadingModel(omits=0.6, repeats=word), "generation", check=50)
    figure = figure_of(found, "generation")
    # Of n words one stands in all passages, and the others in four of ten of their own.
    assert figure.null == pytest.approx(1 / figure.n) and figure.value == pytest.approx(0.4 + 0.6 / figure.n)


class Deaf(ReadingModel):
    """Writes three words of all, whatever is asked."""

    def __init__(self, words):
        super().__init__()
        self.words = words

    def _written(self, request):
        asked = request.messages[1].content
        return {
            str(number): " ".join(word for word in self.words if draw(word, asked, str(number)) < 0.25)
            for number in range(1, 11)
        }


def test_passages_by_chance_score_nothing_and_cost_the_trial_alone(walk, run, tmp_path):
    words = [one.text for one in words_of(run, check=50).drawn(np.random.default_rng(0))]
    found, asked = walk(Deaf(words), "generation")
    figure = figure_of(found, "generation")
    assert figure.ci_low < figure.null < figure.ci_high and figure.null == pytest.approx(0.25, abs=0.05)
    said = f"reaches a share of passages that hold the word of {figure.value:.2f}, where passages written for other "
    assert found.unfit.startswith("Nothing was scored by generation: on 12") and said in found.unfit
    assert len(of_purpose(asked, "generation")) == 12 and found.n_explained == 3
    assert not ExplanationStore(tmp_path / "w.sqlite").scores(run.index.id, explainer="llm")


class Mute(ReadingModel):
    def _written(self, request):
        return {}

    def _odd(self, request):
        return 9


@pytest.mark.parametrize(
    ("judge", "why"), [("generation", "the model writes none: '{}'"), ("intruder", "the judge names no passage: ")]
)
def test_a_judge_of_which_nothing_can_be_read_is_not_believed(walk, judge, why):
    found, _ = walk(Mute(), judge)
    figure = figure_of(found, judge)
    assert (
        figure.value is None
        and why in figure.failure
        and "could not be tried: of 12 descriptions 0 could be read" in found.unfit
    )


class Failing(ReadingModel):
    """Writes nothing for some of the words."""

    def __init__(self, n_silent):
        super().__init__()
        self.n_silent, self.silenced = n_silent, set()

    def _written(self, request):
        asked = request.messages[1].content
        if len(self.silenced) < self.n_silent:
            self.silenced.add(asked)
        return {} if asked in self.silenced else super()._written(request)


def test_words_of_which_nothing_was_read_are_told_and_most_of_them_are_too_many(walk):
    found, _ = walk(Failing(3), "generation")
    figure = figure_of(found, "generation")
    assert (figure.value, figure.n) == (1.0, 9) and "; of 3 of 12 not all was read: the model wri" in figure.definition


def test_a_judge_that_answers_seldom_is_not_believed(walk):
    found, _ = walk(Failing(10), "generation")
    figure = figure_of(found, "generation")
    assert figure.value is None and figure.failure.startswith("of 12 descriptions 2 could be read: the model writes")
    assert "could not be tried" in found.unfit


def right_in(asked, slips):
    """Whether the model that slips names the intruder of each question of the trial."""
    shown = [re.findall(r"\[([0-9a-f]+) \d\]\n(.*?)\n\[/\1 \d\]", m[1]["content"], re.DOTALL) for m in asked]
    return [draw(*(text for _, text in one)) >= slips for one in shown]


@pytest.mark.parametrize(("slips", "fit"), [(0.0, True), (0.4, True), (0.8, False)])
def test_who_names_intruders_is_tried_by_words_that_are_marked(walk, run, tmp_path, slips, fit):
    found, asked = walk(ReadingModel(slips=slips), "intruder")
    figure, trial = figure_of(found, "intruder"), of_purpose(asked, "intruder")[:60]
    assert figure.value == pytest.approx(np.mean(right_in(trial, slips))) and (figure.null, figure.n) == (0.2, 12)
    assert figure.value == pytest.approx(1 - slips, abs=3 * np.sqrt(0.25 / 60) + 1e-9)
    assert (not found.unfit) == fit and (len(of_purpose(asked, "intruder")) > 60) == fit
    assert bool(ExplanationStore(tmp_path / "w.sqlite").scores(run.index.id, explainer="llm")) == fit
    if not fit:
        assert f"reaches an accuracy of {figure.value:.2f}, where guessing gives 0.2" in found.unfit


def test_a_question_has_one_window_without_the_word_and_the_word_is_marked(run):
    words, config = words_of(run), CONFIG
    judge = Intruder(Evidence(run.index), HeldOut(run.index), config)
    text, trial = plain(words.evidence.vocabulary, words.evidence.tokens.tokens.tolist()), judge.trial_on(words)
    places = set()
    for word in words.drawn(np.random.default_rng(0)):
        questions = trial.questions(word)
        assert len(questions) == 5
        for one in questions:
            places.add(one.odd)
            for number, item in enumerate(one.items, 1):
                marked = re.findall("<<(.*?)>>", item.text, re.DOTALL)
                assert (word.text in " ".join(marked).split()) == (number != one.odd) == (item.kind == "active")
                shown = item.text.replace("<<", "").replace(">>", "")
                assert shown in text and (word.text in shown) == (number != one.odd), "of validation documents"
    assert places == {1, 2, 3, 4, 5}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return write_encoder(tmp_path_factory.mktemp("encoder") / "small")


def tried(run, encoder):
    config = CONFIG.model_copy(update={"encoder": str(encoder), "examples": 8})
    trial = Examples(Evidence(run.index), HeldOut(run.index), config).trial_on(words_of(run, encoder=str(encoder)))
    found = dict(hold(ReadingModel(), enumerate(trial.talks(ReadingModel().capabilities())), most_open=4))
    return trial, trial.figure([found[place] for place in sorted(found)])


def closer(vector, near, far, number):
    """How much nearer a window is to some than to others, one pair after another."""
    mean = lambda numbers: np.mean([vector(number) @ vector(other) for other in numbers])
    return mean(near) - mean(far)


def test_nearness_to_examples_is_tried_by_windows_with_a_word(run, encoder):
    trial, figure = tried(run, encoder)
    embed, words, slow = TextEncoder(EmbedConfig(encoder=str(encoder))), trial.words, []
    vector = cache(lambda number: (v := embed([words.texts[number]])[0].astype(float)) / np.linalg.norm(v))
    document = lambda numbers: set(words.windows.documents[numbers].tolist())
    for word in words.drawn(generator(0, "known")):
        holding, lacking, near, far = trial.windows(word)
        if not len(near):
            continue
        assert set(near) <= set(word.holding) and set(far) <= set(word.lacking) and len(near) == len(far) <= 8
        assert not document(np.append(near, far)) & document(np.append(holding, lacking))
        nearer = partial(closer, vector, near, far)
        with_word, without = [nearer(n) for n in holding], [nearer(n) for n in lacking]
        slow.append(np.mean([(a > b) + (a == b) / 2 for a in with_word for b in without]))
    assert figure.value == pytest.approx(np.mean(slow), abs=0.02) and figure.n == len(slow) >= 5
    assert figure.name == "explain/llm/judge_examples" and figure.null == 0.5 and figure.ci_low is not None


def test_an_encoder_to_which_all_is_alike_scores_nothing(run, encoder, tmp_path):
    blank = write_encoder(tmp_path / "blank")
    values = load_file(blank / "model.safetensors")
    save_file(
        {name: torch.zeros_like(one) for name, one in values.items()}, blank / "model.safetensors", {"format": "pt"}
    )
    trial, figure = tried(run, blank)
    assert figure.value == 0.5
    assert "reaches an AUROC of 0.50, where guessing gives 0.5" in doubt(trial, figure)


@pytest.mark.parametrize(("right", "believed"), [(0.5, False), (0.9, True), (1.0, True)])
def test_a_figure_without_an_interval_is_doubted_by_that_of_a_share(run, right, believed):
    known = Known(words_of(run), "votes", lambda *_: iter(()), votes=True)
    one = (round(10 * right), 10, round(10 * right), 10)
    figure = known.figure([Tried(one, right, "")] * 6)
    assert figure.ci_low is None and (doubt(known, figure) == "") == believed


def test_the_estimate_counts_trials(run, tmp_path):
    few = ("--judges", "generation", "--judges", "intruder", "--latents", 3, "--window", 16, "--null-share", 0)
    few += ("--intruders", 5, "--passages", 4)
    with chat_server(over_http(ReadingModel())) as server:
        command = ("explain", run.workspace.path, "--llm", server.url, "--llm-model", "scripted", *few)
        said = sparselex(*command, "--dry-run", "--json").json["by_purpose"]
        assert not server.asked
        ended = sparselex(*command, "--json")
        assert ended.code == 0, ended.err
        asked = [body["messages"][0]["content"] for body in server.asked if "messages" in body]
    for purpose in ("generation", "intruder"):
        n_asked = sum(purpose_of(one) == purpose for one in asked)
        assert n_asked <= said[purpose]["requests"] <= n_asked + 2, (
            "latents whose explanations are alike are one question"
        )
    names = {figure["name"]: figure for figure in ended.json["figures"]}
    assert names["explain/llm/judge_generation"]["value"] == names["explain/llm/judge_intruder"]["value"] == 1
