"""Neuron records of OpenAI's explainer become a run that can be read; what is damaged is refused and leaves nothing."""

import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.convert.dashboard_files import read_dashboards
from sparselex.recipes.dashboards.taking import take_dashboards
from sparselex.recipes.explanations.taking import import_explanations
from sparselex.server.app import create_app
from tests.support.command import sparselex

MARKUP = "<script>alert(1)</script>"


def activations(tokens: list[str], values: list[float]) -> dict:
    return {"dataclass_name": "ActivationRecord", "tokens": tokens, "activations": values}


def record(neuron: int, layer: int = 3, **more: object) -> dict:
    """A record in the form of `collated-activations/<layer>/<neuron>.json`: its fields, in their order."""
    quantiles = [[activations(["a", " quarter"], [0.5, 0.0])], [activations(["a", " half"], [-0.125, 1.0])]]
    return {
        "dataclass_name": "NeuronRecord",
        "neuron_id": {"dataclass_name": "NeuronId", "layer_index": layer, "neuron_index": neuron},
        "random_sample": [activations([" any", " text"], [0.0, -0.0625])],
        "random_sample_by_quantile": quantiles,
        "quantile_boundaries": [None, 0.75],
        "mean": 0.25,
        "variance": 2.0,
        "skewness": float("nan"),
        "kurtosis": None,
        "most_positive_activation_records": [
            activations([" one", MARKUP, " three"], [0.0, 4.5, 0.0]),
            activations([" four", " five", " six"], [0.0, 0.0, 2.25]),
        ],
        **more,
    }


def written(home: Path, *records: dict, layer: int = 3) -> Path:
    (home / str(layer)).mkdir(parents=True, exist_ok=True)
    for one in records:
        path = home / str(layer) / f"{one['neuron_id']['neuron_index']}.json"
        path.write_text(json.dumps(one), encoding="utf-8")
    return home


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return Workspace.create(tmp_path / "w")


def test_records_become_pages(workspace, tmp_path):
    home = written(tmp_path / "collated-activations", record(5), record(11))
    taken = take_dashboards(workspace, "theirs", home)
    assert (taken.format, taken.n_features, taken.n_texts, taken.dictionary) == ("openai", 2, 5, "3-neurons")
    assert taken.left_out == {"quantile_boundaries": 2}, "what was not measured says nothing"
    assert (taken.n_read, taken.n_explanations) == (0, 0)
    client = TestClient(create_app(workspace), base_url="http://127.0.0.1")
    page = client.get("/runs/theirs/features/5.json").json()
    assert [one["value"] for one in page["examples"][0]["examples"]][:3] == [4.5, 2.25, 1.0]
    stated = page["elsewhere"]["stated"]
    assert stated["others"] == {"mean": 0.25, "variance": 2.0} and stated["density"] is None
    assert stated["largest"] == 4.5 and "how much is not said" in page["elsewhere"]["notice"]
    for path in ("/", "/runs/theirs/features", "/runs/theirs/features/5", "/runs/theirs/features/4", "/about/theirs"):
        html = client.get(path)
        assert html.status_code == 200 and "<script>alert" not in html.text, path
    assert "At most 4.5" in client.get("/runs/theirs/features/5").text
    assert taken == take_dashboards(workspace, "theirs", home), "read again it is the same"
    assert take_dashboards(workspace, "one", home / "3" / "5.json").n_features == 1


def test_every_text_is_there_with_every_activation(tmp_path):
    (one,) = read_dashboards(written(tmp_path / "n", record(5))).dashboards
    assert [(example.tokens[-1], example.values[-1]) for example in one.examples] == [
        (" three", 0.0),
        (" six", 2.25),
        (" text", -0.0625),
        (" quarter", 0.0),
        (" half", 1.0),
    ]
    assert [example.place for example in one.examples] == [1, 2, 0, 0, 1] and one.largest == 4.5
    assert [example.low for example in one.examples] == [-1, -1, 0, 0, 0] and one.density is None


def test_their_explanations_are_taken_up_beside(workspace, tmp_path):
    take_dashboards(workspace, "theirs", written(tmp_path / "collated-activations", record(5)))
    home = tmp_path / "explanations" / "3"
    home.mkdir(parents=True)
    sequence = {
        "dataclass_name": "ScoredSequenceSimulation",
        "simulation": {
            "dataclass_name": "SequenceSimulation",
            "tokens": ["a", "b"],
            "expected_activations": [0.5, 9.0],
            "activation_scale": "simulated_normalized_activations",
            "distribution_values": [],
            "distribution_probabilities": [],
            "uncalibrated_simulation": None,
        },
        "true_activations": [0.0, 4.5],
        "ev_correlation_score": 1.0,
        "rsquared_score": None,
        "absolute_dev_explained_score": None,
    }
    simulation = {
        "dataclass_name": "ScoredSimulation",
        "scored_sequence_simulations": [sequence],
        "ev_correlation_score": 0.75,
        "rsquared_score": 0.5,
        "absolute_dev_explained_score": 0.25,
    }
    neuron = {
        "dataclass_name": "NeuronSimulationResults",
        "neuron_id": record(5)["neuron_id"],
        "scored_explanations": [
            {"dataclass_name": "ScoredExplanation", "explanation": "marks", "scored_simulation": simulation}
        ],
    }
    (home / "5.jsonl").write_text(json.dumps(neuron) + "\n")
    assert import_explanations(workspace, "theirs", tmp_path / "explanations").n_new == 1
    page = TestClient(create_app(workspace), base_url="http://127.0.0.1").get("/runs/theirs/features/5.json").json()
    (said,) = page["explanations"]
    scores = {one["metric"]: (one["value"], one["n"]) for one in said["imported"][0]["scores"]}
    assert said["text"] == "marks" and said["scorers"] == [], "theirs, and none of ours"
    assert scores == {
        "ev_correlation_score": (0.75, 2),
        "rsquared_score": (0.5, 2),
        "absolute_dev_explained_score": (0.25, 2),
    }


TOP = "most_positive_activation_records"
HOSTILE = {
    "cut in the middle": (json.dumps(record(5))[:200], "cannot be read"),
    "no JSON": ("hello", "cannot be read"),
    "a list": ("[]", "an object"),
    "no neuron": (json.dumps(record(5, neuron_id=None)), "an object"),
    "a number that is none": (json.dumps(record(5, neuron_id={"layer_index": 3, "neuron_index": "x"})), "a latent"),
    "a large number": (json.dumps(record(5, neuron_id={"layer_index": 3, "neuron_index": 1 << 40})), "a latent"),
    "no texts": (json.dumps({"neuron_id": {"layer_index": 3, "neuron_index": 5}}), "a record of a neuron"),
    "an activation that is none": (json.dumps(record(5, **{TOP: [activations(["a"], [float("nan")])]})), "finite"),
    "an endless activation": (json.dumps(record(5, **{TOP: [activations(["a"], [float("inf")])]})), "finite"),
    "a word for an activation": (json.dumps(record(5, **{TOP: [activations(["a"], ["x"])]})), "finite"),  # type: ignore
    "fewer activations": (json.dumps(record(5, **{TOP: [activations(["a", "b"], [1.0])]})), "as many as tokens"),
    "tokens that are none": (json.dumps(record(5, **{TOP: [activations([1], [1.0])]})), "texts"),  # type: ignore
    "records that are none": (json.dumps(record(5, **{TOP: {"a": 1}})), "a list of objects"),
    "ranges that are none": (json.dumps(record(5, random_sample_by_quantile=[3])), "a list of objects"),
    "ranges that are no list": (json.dumps(record(5, random_sample_by_quantile="x")), "lists of records"),
    "no activation": (json.dumps(record(5, **{TOP: []}, random_sample=[], random_sample_by_quantile=[])), "no example"),
    "deep": ('{"neuron_id": ' + "[" * 5000, "cannot be read"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_damaged_is_named_and_leaves_nothing(what, workspace, tmp_path):
    text, words = HOSTILE[what]
    home = written(tmp_path / "n", record(7))
    (home / "3" / "5.json").write_text(text)
    (home / "3" / "7.json").unlink()
    with pytest.raises(UserError) as caught:
        take_dashboards(workspace, "theirs", home)
    assert words in str(caught.value) and workspace.begun() == []
    assert not workspace.corpora.exists() or not list(workspace.corpora.iterdir())


def test_one_layer_and_each_neuron_once(workspace, tmp_path):
    home = written(tmp_path / "n", record(5))
    (home / "3" / "6.json").write_text(json.dumps(record(5)))
    with pytest.raises(UserError, match="5 is there 2 times"):
        take_dashboards(workspace, "theirs", home)
    (home / "3" / "6.json").unlink()
    written(home, record(5, layer=4), layer=4)
    with pytest.raises(UserError, match="of layer 4"):
        take_dashboards(workspace, "theirs", home)
    assert take_dashboards(workspace, "theirs", home / "3").n_features == 1


def test_the_command_line(tmp_path):
    home = written(tmp_path / "n", record(5), record(6))
    done = sparselex("dashboards", str(tmp_path / "w"), str(home), "--run", "neurons")
    assert done.code == 0 and "2 features of 3-neurons of not named, read as openai" in done.out, done.err
    assert "quantile_boundaries (2 times)" in done.out
    (home / "3" / "6.json").write_text('{"neuron_id"')
    failed = sparselex("dashboards", str(tmp_path / "v"), str(home))
    assert failed.code == 2 and "6.json cannot be read" in failed.err and not (tmp_path / "v").exists()
