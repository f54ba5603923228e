"""Types ranked on known features, from training to the table: small, but every part is the real one."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

import sparselex.evaluate.synthetic.synthetic as walk
from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.cli.synthetic import print_ranking
from sparselex.evaluate.synthetic.config import SyntheticConfig
from sparselex.evaluate.synthetic.formulas import FORMULAS
from sparselex.evaluate.synthetic.records import SHOWN, SyntheticReport, ranking_of, synthetic_folder
from sparselex.evaluate.synthetic.synthetic import rank_types
from sparselex.evaluate.synthetic.trained import interpolated, kinds_of
from sparselex.server.app import create_app
from tests.support.command import done, sparselex
from tests.support.known import SMALL


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Workspace, SyntheticReport]:
    workspace = Workspace.create(tmp_path_factory.mktemp("synthetic") / "workspace")
    return workspace, rank_types(workspace, "main", SyntheticConfig(**SMALL))


def test_trained_types_lie_between_random_rows_and_the_truth(made):
    _, found = made
    assert found.recoverable and found.oracle.figures["f1"].value > 0.8
    topk = next(row for row in found.types if row.kind == "topk")
    f1 = topk.figures["f1"]
    assert f1.null < f1.ci_low < f1.value < f1.ci_high < f1.controls["oracle"]
    assert f1.n == 3 * f1.n // 3 and len(topk.by_seed) == topk.n_seeds == 3
    assert set(f1.controls) == {"oracle", "covariance"}
    assert f1.value == pytest.approx(sum(topk.by_seed) / 3)


def test_every_measure_of_every_row_is_a_figure_with_its_null(made):
    _, found = made
    for row in found.types:
        assert set(row.figures) == set(FORMULAS) >= set(SHOWN)
        assert all(figure.failure or figure.null is not None for figure in row.figures.values())
        assert all(figure.name == f"synthetic/{name}" for name, figure in row.figures.items())
    assert [row.kind for row in found.controls] == ["random", "covariance"]


def test_types_stand_in_the_order_of_their_f1_and_seeds_are_asked_whether_they_agree(made):
    _, found = made
    values = [row.figures["f1"].value for row in found.types]
    assert values == sorted(values, reverse=True)
    assert found.concordance["f1"].null == pytest.approx(1 / 3)


def test_a_type_without_a_number_of_latents_is_brought_to_it(made):
    _, found = made
    relu = next(row for row in found.types if row.kind == "relu")
    assert relu.coefficient.startswith("l1=") and 1 < relu.figures["l0"].value < 9


def test_given_again_it_trains_nothing(made, monkeypatch):
    workspace, found = made
    monkeypatch.setattr(walk, "train_type", lambda *_: pytest.fail("trained again"))
    assert rank_types(workspace, "main", SyntheticConfig(**SMALL)) == found
    assert ranking_of(synthetic_folder(workspace, "main")) == found


def test_stopped_it_goes_on_behind_what_is_trained(tmp_path, monkeypatch):
    workspace = Workspace.create(tmp_path / "workspace")
    config = SyntheticConfig(**{**SMALL, "n_tokens": 1000, "kinds": ("topk", "jumprelu"), "n_seeds": 2})

    def stopped(kind, *given):
        if kind == "jumprelu":
            raise KeyboardInterrupt
        return walk_train(kind, *given)

    walk_train = walk.train_type
    monkeypatch.setattr(walk, "train_type", stopped)
    with pytest.raises(KeyboardInterrupt):
        rank_types(workspace, "main", config)
    weights = next(synthetic_folder(workspace, "main").glob("dictionaries/topk-1/*.safetensors"))
    before = weights.stat().st_mtime_ns
    monkeypatch.setattr(walk, "train_type", walk_train)
    found = rank_types(workspace, "main", config)
    assert {row.kind for row in found.types} == {"topk", "jumprelu"} and weights.stat().st_mtime_ns == before
    whole = rank_types(Workspace.create(tmp_path / "other"), "main", config)
    assert whole == found


def test_a_type_that_cannot_be_trained_fails_in_its_own_row(tmp_path):
    changes = {"n_tokens": 1000, "batch_size": 16, "kinds": ("topk", "archetypal"), "n_seeds": 1}
    found = rank_types(Workspace.create(tmp_path / "workspace"), "main", SyntheticConfig(**{**SMALL, **changes}))
    rows = {row.kind: row for row in found.types}
    assert rows["topk"].n_seeds == 1 and rows["archetypal"].n_seeds == 0
    assert "points were to be made of 128 calibration tokens" in rows["archetypal"].failures[0].reason


def test_a_set_that_cannot_be_recovered_ranks_nothing(tmp_path):
    config = SyntheticConfig(**{**SMALL, "d_in": 8, "l0": 6.0, "n_tokens": 200, "n_seeds": 1})
    found = rank_types(Workspace.create(tmp_path / "workspace"), "hard", config)
    assert not found.recoverable and not found.concordance and "nothing is ranked" in found.verdict
    assert [row.kind for row in found.types] == ["relu", "topk"]


def test_another_configuration_of_the_same_name_is_refused_unless_it_is_to_be_replaced(tmp_path):
    workspace = Workspace.create(tmp_path / "workspace")
    config = SyntheticConfig(**{**SMALL, "n_tokens": 200, "kinds": ("topk",), "n_seeds": 1})
    rank_types(workspace, "main", config)
    other = SyntheticConfig(**{**SMALL, "n_tokens": 300, "kinds": ("topk",), "n_seeds": 1})
    with pytest.raises(UserError, match="another configuration"):
        rank_types(workspace, "main", other)
    assert rank_types(workspace, "main", other, replace=True).n_tokens == 300


def test_what_cannot_be_is_refused_before_anything_is_trained(tmp_path):
    workspace = Workspace.create(tmp_path / "workspace")
    with pytest.raises(UserError, match="clt"):
        rank_types(workspace, "main", SyntheticConfig(**{**SMALL, "kinds": ("clt",)}))
    with pytest.raises(UserError, match="name of a synthetic set"):
        rank_types(workspace, "../main", SyntheticConfig(**SMALL))
    with pytest.raises(UserError, match="k=70"):
        SyntheticConfig.parse({**SMALL, "k": 70})
    assert not (workspace.path / "synthetic").exists()


def test_a_set_in_whose_samples_nothing_happens_is_told_so(tmp_path):
    config = SyntheticConfig(**{**SMALL, "l0": 1e-6, "n_trees": 0, "n_groups": 0})
    with pytest.raises(UserError, match="No feature is active"):
        rank_types(Workspace.create(tmp_path / "workspace"), "main", config)


def test_every_registered_type_of_one_site_takes_part():
    kinds = kinds_of(SyntheticConfig())
    assert "clt" not in kinds and {"topk", "gated", "matching_pursuit", "archetypal", "panneal"} <= set(kinds)


@pytest.mark.parametrize(
    ("pairs", "wanted", "found"),
    [
        ([(1.0, 100.0), (10.0, 10.0), (100.0, 1.0)], 10**1.5, 10**0.5),
        ([(1.0, 100.0), (10.0, 10.0)], 1.0, 30.0),  # a factor of three beyond the last, and no more
        ([(1.0, 100.0), (10.0, 10.0)], 10**2.2, 10**-0.2),
        ([(1.0, 5.0), (10.0, 5.0)], 5.0, 1.0),
        ([(2.0, 5.0)], 7.0, 4.0),
    ],
)
def test_coefficients_are_interpolated_as_powers(pairs, wanted: float, found: float):
    assert interpolated(pairs, wanted, 4.0) == pytest.approx(found)


def test_the_page_shows_every_type_and_its_json_is_the_record(made):
    workspace, found = made
    client = TestClient(create_app(workspace), base_url="http://127.0.0.1")
    page = client.get("/synthetic/main")
    assert page.status_code == 200 and "<svg" in page.text and "Kendall" in page.text
    for row in (*found.types, *found.controls):
        assert row.kind in page.text
    record = client.get("/synthetic/main.json").json()
    assert record["found"] == found.to_json()
    assert "/synthetic/main" in client.get("/").text
    assert client.get("/synthetic/other").status_code == 404


def test_a_workspace_without_a_set_says_which_command_makes_one(tmp_path):
    client = TestClient(create_app(Workspace.create(tmp_path / "workspace")), base_url="http://127.0.0.1")
    page = client.get("/synthetic/main")
    assert page.status_code == 404 and "sparselex evaluate synthetic" in page.text
    assert "synthetic" not in client.get("/").text


def test_the_table_says_what_was_found(made, capsys):
    _, found = made
    print_ranking(found)
    said = capsys.readouterr().out
    assert "recoverable" in said and "topk" in said and "covariance" in said and "Kendall" in said


def test_the_command_makes_the_set_and_says_so_as_json_or_as_a_table(tmp_path: Path):
    fields = {name: value for name, value in SMALL.items() if name != "kinds"} | {"n_tokens": 300, "n_seeds": 1}
    options = [part for name, value in fields.items() for part in ("--" + name.replace("_", "-"), value)]
    words = ["evaluate", "synthetic", tmp_path / "workspace", "--quick", "--kinds", "topk", *options]
    found = SyntheticReport(**done(*words, "--json").json)
    assert found.n_features == 64 and found.n_tokens == 300 and [row.kind for row in found.types] == ["topk"]
    assert "/synthetic/main" in done(*words).out
    assert done("check", tmp_path / "workspace").code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--name", "a/b"], "synthetic set"),
        (["--kinds", "tpok"], "topk"),
        (["--n-seeds", "0"], "--n-seeds"),
        (["--l0", "1e9"], "--l0"),
        (["--n-features", "10"], "n_features=10"),
    ],
)
def test_mistakes_end_in_one_message_and_leave_nothing(tmp_path: Path, words: list[str], said: str):
    ended = sparselex("evaluate", "synthetic", tmp_path / "workspace", *words)
    assert ended.code == 2 and said in ended.err
    assert not (tmp_path / "workspace").exists()
