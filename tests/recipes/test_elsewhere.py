"""Dashboards of others become runs that can be read: examples, logits, explanations, and what else their files say."""

import gzip
import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.convert.dashboard_files import read_dashboards
from sparselex.recipes.dashboards.taking import take_dashboards
from sparselex.recipes.run import Run
from sparselex.server.app import create_app

MARKUP = "<script>alert(1)</script>"


def example(values: list[float], **more) -> dict:
    tokens = [f" word{n}" for n in range(len(values) - 1)] + [MARKUP]
    place = max(range(len(values)), key=values.__getitem__)
    bins = {"bin_min": -1, "bin_max": 2.5, "bin_contains": -1, "qualifying_token_index": place}
    return {**bins, "tokens": tokens, "values": values, **more}


def batch(**feature) -> dict:
    row = {
        "feature_index": 5,
        "frac_nonzero": 0.125,
        "pos_str": [" up", MARKUP],
        "pos_values": [1.5, 0.5],
        "neg_str": [],
        "neg_values": [],
        "freq_hist_data_bar_values": [0.5, 1.5, 2.5],
        "freq_hist_data_bar_heights": [9, 3, 1],
        "n_prompts_total": 100,
        "n_tokens_in_prompt": 8,
        "dataset": "somewhere/text",
        "correlated_neurons_indices": [14, 225],
        "a_field_of_tomorrow": {"x": 1},
        "activations": [example([0.0, 2.5, 1.0]), example([0.0, 0.0, 1.25], dfa_maxValue=3.0)],
    }
    return {"model_id": "a-model", "layer": 3, "sae_set": "a-set", "features": [row | feature]}


def written(folder: Path, *batches: dict) -> Path:
    folder.mkdir()
    for number, one in enumerate(batches):
        (folder / f"batch-{number}.json").write_text(json.dumps(one), encoding="utf-8")
    return folder


def neuronpedia(folder: Path) -> Path:
    """The same feature in the other layout, explained twice by one method and once by a person."""
    named = {"modelId": "a-model", "layer": "3-a-set", "index": "5"}
    said = {"description": f"words {MARKUP}", "typeName": "method", "explanationModelName": "a-llm", "authorId": None}
    rows = {
        "features": [named | {"maxActApprox": 7.0, "frac_nonzero": 0.125, "hookName": "blocks.3.hook_resid_pre"}],
        "activations": [
            named
            | {"id": "c1", "tokens": ["a", "b"], "values": [0, 1.5], "binMin": 1, "binMax": 2, "binContains": 0.1},
            named
            | {"id": "c2", "tokens": ["a", "c"], "values": [2.5, 0], "binMin": -1, "binMax": 2.5, "binContains": -1},
        ],
        "explanations": [
            named | said | {"scoreV1": 0.75, "embedding": [1, 2]},
            named | said,
            named | {"description": "mine", "authorId": "somebody", "notes": "a note"},
        ],
    }
    for part, found in rows.items():
        (folder / part).mkdir(parents=True)
        with gzip.open(folder / part / "batch-0.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in found)
    (folder / "source.jsonl").write_text(json.dumps({"id": "3-a-set", "num_prompts": 10, "num_tokens_in_prompt": 4}))
    return folder


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return Workspace.create(tmp_path / "w")


def client_of(workspace: Workspace) -> TestClient:
    return TestClient(create_app(workspace), base_url="http://127.0.0.1")


def test_batches_become_pages(workspace, tmp_path):
    taken = take_dashboards(workspace, "theirs", written(tmp_path / "made", batch()))
    assert (taken.n_features, taken.n_texts, taken.n_read) == (1, 1, 800), "one text, twice an example"
    assert taken.left_out == {"dfa_maxValue": 1}
    client = client_of(workspace)
    page = client.get("/runs/theirs/features/5.json").json()
    assert [one["value"] for one in page["examples"][0]["examples"]] == [2.5] and page["run"]["model"] == "a-model"
    stated = page["elsewhere"]["stated"]
    assert stated["density"] == 0.125 and stated["raised"][0] == {"text": " up", "value": 1.5}
    assert stated["histogram"] == {"edges": [0, 1, 2, 3], "counts": [9, 3, 1]}
    assert set(stated["others"]) == {"correlated_neurons_indices", "a_field_of_tomorrow", "dataset"}
    for path in ("/", "/runs/theirs/features", "/runs/theirs/features/5", "/runs/theirs/features/2", "/about/theirs"):
        html = client.get(path)
        assert html.status_code == 200 and "<script>alert" not in html.text, path
    assert "Made elsewhere" in client.get("/runs/theirs/features").text
    assert "say nothing of this feature" in client.get("/runs/theirs/features/2").text
    assert str(tmp_path) not in client.get("/runs/theirs/features/5").text.replace(workspace.typed, "")


def test_explanations_keep_their_authors_and_scores(workspace, tmp_path):
    taken = take_dashboards(workspace, "theirs", neuronpedia(tmp_path / "np"))
    assert (taken.n_explanations, taken.dictionary, taken.left_out) == (3, "3-a-set", {"embedding": 1})
    page = client_of(workspace).get("/runs/theirs/features/5.json").json()
    said = {one["explainer"]: one for one in page["explanations"]}
    assert set(said) == {"method a-llm", "method a-llm (2)", "somebody"} and said["somebody"]["text"] == "mine\na note"
    (score,) = said["method a-llm"]["scorers"][0]["scores"]
    assert (score["value"], score["null"], score["metric"]) == (0.75, None, "scoreV1")
    assert page["sites"]["hooks"] == ["blocks.3.hook_resid_pre"] and page["elsewhere"]["stated"]["largest"] == 7.0
    assert [one["value"] for one in page["examples"][0]["examples"]] == [2.5, 1.5]
    assert "words &lt;script&gt;" in client_of(workspace).get("/runs/theirs/features/5").text


def test_our_own_come_back(small_workspace, workspace, tmp_path):
    """What was exported is read again: the same examples with the same activations."""
    run = Run.open(small_workspace)
    latents = run.index.table["n_active"].argsort()[-2:].tolist()
    for layout in ("saedashboard", "neuronpedia"):
        run.do("export", to=tmp_path / layout, layout=layout, latents=latents)
        read = {one.latent: one for one in read_dashboards(tmp_path / layout).dashboards}
        assert set(read) == set(latents)
        for latent, one in read.items():
            record = run.index.record(latent)
            assert [round(e.values[e.place], 4) for e in one.examples if e.low == -1] == pytest.approx(
                [e.value for e in record.top], abs=1e-3
            )
            assert one.density == record.density and one.activations.counts == record.histogram.counts
    take_dashboards(workspace, "back", tmp_path / "saedashboard")
    page = client_of(workspace).get(f"/runs/back/features/{latents[0]}.json").json()
    ours = run.index.record(latents[0])
    assert page["examples"][0]["examples"][0]["value"] == pytest.approx(ours.top[0].value, rel=1e-5)


def test_real_batches(shared_data, workspace):
    taken = take_dashboards(workspace, "theirs", shared_data / "dashboards")
    assert (taken.n_features, taken.model, taken.dictionary) == (4, "gpt2-small", "0-res-jb")
    page = client_of(workspace).get("/runs/theirs/features/2.json").json()
    assert (
        page["examples"][0]["examples"][0]["value"] == pytest.approx(0.8)
        and page["elsewhere"]["stated"]["raised"][0]["text"] == " MRI"
    )


def test_read_again_is_as_the_files_are_now(workspace, small_workspace, tmp_path):
    folder = written(tmp_path / "made", batch())
    take_dashboards(workspace, "theirs", folder)
    (folder / "batch-0.json").write_text(json.dumps(batch(activations=[example([9.0, 0.0])])), encoding="utf-8")
    take_dashboards(workspace, "theirs", folder)
    assert client_of(workspace).get("/runs/theirs/features/5.json").json()["max"] == 9.0
    with pytest.raises(UserError, match="was made elsewhere"):
        Run.open(workspace, "theirs")
    with pytest.raises(UserError, match="made here"):
        take_dashboards(small_workspace, "main", folder)


@pytest.mark.parametrize(
    ("feature", "words"),
    [
        ({"feature_index": 1 << 40}, "the number of a feature"),
        ({"feature_index": "5"}, "a whole number"),
        ({"frac_nonzero": float("nan")}, "finite"),
        ({"pos_str": [1]}, "a list of texts"),
        ({"pos_values": [1.0]}, "as many as values"),
        ({"freq_hist_data_bar_heights": [1, -1, 2]}, "counts of bins"),
        ({"activations": [{"tokens": ["a"], "values": [1, 2]}]}, "as many as tokens"),
        ({"activations": [3]}, "an object"),
        ({"activations": []}, "no example"),
    ],
)
def test_damaged_files_are_named(feature, words, workspace, tmp_path):
    with pytest.raises(UserError) as caught:
        take_dashboards(workspace, "theirs", written(tmp_path / "made", batch(**feature)))
    assert words in str(caught.value) and not workspace.begun()


def test_what_is_no_folder_of_dashboards(tmp_path):
    several = written(tmp_path / "several", batch(), batch() | {"layer": 4})
    broken = neuronpedia(tmp_path / "broken")
    (broken / "features" / "batch-0.jsonl.gz").write_bytes(b"no gzip")
    for folder, words in ((tmp_path / "nothing", "no dashboards"), (several, "several"), (broken, "damaged")):
        with pytest.raises(UserError, match=words):
            read_dashboards(folder)
