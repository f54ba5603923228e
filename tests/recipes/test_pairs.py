"""Two runs around an MLP trained together: what is left, what is not done again, and what is refused before anything is
trained."""

import shutil
import time

import pytest
import torch

from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.dictionaries.files import load_dictionary
from sparselex.evaluate.pairs.records import ARMS, PENALISED, PLAIN, RANDOM, pair_card
from sparselex.evaluate.report import report
from sparselex.recipes.config import new_run
from sparselex.recipes.pairs import PairOptions, pair_runs
from sparselex.recipes.run import Run
from sparselex.training.pairs import load_pair
from tests.support.command import done, sparselex
from tests.support.paired import BEFORE, BEHIND, OPTIONS, around_mlp


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Workspace:
    """Read only."""
    workspace = around_mlp(tmp_path_factory.mktemp("pairs"))
    pair_runs(workspace, BEFORE, PairOptions(**OPTIONS))
    return workspace


@pytest.fixture
def copied(made, tmp_path) -> Workspace:
    shutil.copytree(made.path, tmp_path / "w")
    return Workspace(tmp_path / "w")


def test_every_figure_has_its_null_and_its_controls(made):
    card = pair_card(made, "before-jacobian")
    assert card.runs == ("before-jacobian", "behind-jacobian") and card.parents == (BEFORE, BEHIND)
    assert {arm.name: arm.weight for arm in card.arms} == dict(zip(ARMS, (1.0, 0.0, 1.0, 0.0), strict=True))
    assert len({arm.model for arm in card.arms}) == 2
    assert len(card.own) == 13 and len(card.differences) == 18
    for figure in card.own:
        assert figure.n > 0 and figure.value is not None and set(figure.controls) == set(list(ARMS.values())[1:])
        assert figure.name.endswith("/l0") or figure.null is not None
    for figure in card.differences:
        of = card.figure(figure.name.split("/", 2)[2])
        beside = of.controls[ARMS[PLAIN if "/gained/" in figure.name else RANDOM]]
        assert figure.value == pytest.approx(of.value - beside, abs=1e-9) and figure.null == 0
    size = card.figure("jacobian_size")
    assert size.value < size.controls[ARMS[PLAIN]], "what the penalty is on falls"


def test_the_runs_have_the_dictionaries_of_the_pair_and_go_on_like_any_other(copied):
    pair = load_pair(copied.path / "pairs" / "before-jacobian" / PENALISED)
    for number, name in enumerate(("before-jacobian", "behind-jacobian")):
        kept = load_dictionary(copied.run(name) / "dictionary")
        for key, value in pair.dictionary.each[number].state_dict().items():
            torch.testing.assert_close(kept.state_dict()[key], value, rtol=0, atol=0)
        manifest = copied.artifacts(name)["dictionary"]
        assert manifest.inputs["pair"] == pair.id and manifest.config["pair"]["of"] == (BEFORE, BEHIND)[number]
    run = Run.open(copied, "before-jacobian")
    assert run.do("index", train_rows=None).d_sae == 128
    assert run.do("evaluate", controls=[]).figures
    card = pair_card(copied, "before-jacobian")
    printed = done("report", copied.path, "--run", "before-jacobian").out
    found = {one.name: one for one in report(copied, "before-jacobian").figures}
    for one in card.figures:
        there = found[one.name.replace("pair/", "pairs/before-jacobian/", 1)]
        assert there.to_json() == one.to_json() | {"name": there.name} and there.name in printed
    assert "core/fvu" in printed


def test_what_is_done_is_not_done_again_and_a_run_that_is_gone_is_made_anew(copied):
    before = {path: path.stat().st_mtime_ns for path in (copied.path / "pairs").rglob("*.safetensors")}
    shutil.rmtree(copied.run("behind-jacobian"))
    start = time.perf_counter()
    printed = done("pair", copied.path, "--run", BEFORE, "--into", BEHIND, "--tokens", 12_000, "--rows", 24)
    assert "jacobian_edges" in printed.out and "gained/x/fvu" in printed.out and "/pairs/before-jacobian" in printed.out
    assert time.perf_counter() - start < 30
    assert before == {path: path.stat().st_mtime_ns for path in (copied.path / "pairs").rglob("*.safetensors")}
    assert copied.has("behind-jacobian", "dictionary")
    touched = (copied.path / "runs").stat().st_mtime_ns
    pair_runs(copied, BEFORE, PairOptions(**OPTIONS))
    assert (copied.path / "runs").stat().st_mtime_ns == touched, "nor a lock is written"


def test_other_settings_want_another_name_or_to_replace(copied):
    """What they have in common with another pair of the workspace is not trained again."""
    given = ("pair", copied.path, "--run", BEFORE, "--into", BEHIND, "--tokens", 12_000, "--rows", 24, "--weight", 3)
    refused = sparselex(*given)
    assert refused.code == 2 and "--replace" in refused.err
    old = copied.artifacts("before-jacobian")["dictionary"].id
    done(*given, "--name", "heavier")
    when = lambda pair, arm: (copied.path / "pairs" / pair / arm / "pair.safetensors").stat().st_mtime_ns
    assert when("before-heavier", PLAIN) == when("before-jacobian", PLAIN)
    assert when("before-heavier", PENALISED) > when("before-jacobian", PENALISED)
    assert copied.artifacts("before-jacobian")["dictionary"].id == old
    found = done(*given, "--replace", "--json").json
    assert found["weight"] == 3 and when("before-heavier", PENALISED) == when("before-jacobian", PENALISED)
    assert copied.artifacts("before-jacobian")["dictionary"].id != old


def test_what_another_pair_has_trained_is_taken_over_only_as_it_was_written(copied):
    file = copied.path / "pairs" / "before-jacobian" / PLAIN / "pair.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 64]))
    with pytest.raises(UserError, match=r"before-jacobian/plain/pair.safetensors is damaged"):
        pair_runs(copied, BEFORE, PairOptions(**OPTIONS | {"name": "heavier", "weight": 3.0}))
    assert not copied.run("before-heavier").exists() and not (copied.path / "pairs" / "before-heavier" / PLAIN).exists()


def test_a_run_of_another_pair_is_not_replaced_unasked(copied):
    shutil.rmtree(copied.path / "pairs")
    with pytest.raises(UserError, match="came of another pair"):
        pair_runs(copied, BEFORE, PairOptions(**OPTIONS))
    assert not (copied.path / "pairs").exists(), "and nothing was trained"


def refused(workspace, match, run=BEFORE, **options):
    with pytest.raises(UserError, match=match):
        pair_runs(workspace, run, PairOptions(**OPTIONS | {"name": "other"} | options))
    assert not (workspace.path / "pairs" / f"{run}-other").exists()


def test_what_cannot_be_paired_is_refused_before_anything_is_trained(copied):
    refused(copied, "with itself", into=BEFORE)
    refused(copied, "no run 'nobody'", into="nobody")
    refused(copied, "no single MLP", run=BEHIND, into=BEFORE)
    Run.create(copied, "before-there", _same(copied, BEFORE)).do("train")
    refused(copied, "came of no pair", name="there")
    Run.create(copied, "l1", _same(copied, BEFORE).with_stage("train", {"kind": "relu", "n_tokens": 2_000})).do("train")
    refused(copied, "of type relu", run="l1")
    twin = _same(copied, BEFORE).with_twin("reinitialised", 0)
    Run.create(copied, "random", twin).do("train")
    refused(copied, "random-weight twin", run="random")
    other = new_run("embedded", _same(copied, BEFORE).text.source, n_ctx=32, hook="blocks.0.hook_mlp_in")
    training = _same(copied, BEFORE).stages["train"]
    Run.create(copied, "shorter", other.with_stage("train", training)).do("train")
    refused(copied, "different models or text", run="shorter")


def _same(workspace, name):
    return Run.open(workspace, name).config
