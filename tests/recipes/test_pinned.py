"""Pinned sampling of a run: from Python, from the command line, and as a measurement of some latents."""

import json
import shutil

import numpy as np
import pytest

from sparselex.base.errors import UserError
from sparselex.base.figures import Figures
from sparselex.base.workspace import Workspace
from sparselex.cli.main import main
from sparselex.recipes.pinned_records import PREFIX
from sparselex.recipes.run import Run

FEW = {"n_new": 8, "n_samples": 2}


@pytest.fixture(scope="module")
def run(small_workspace, tmp_path_factory):
    """A run of its own: a measurement is written into it."""
    path = tmp_path_factory.mktemp("pinned") / "workspace"
    shutil.copytree(small_workspace.path, path)
    return Run.open(Workspace(path), "main")


@pytest.fixture(scope="module")
def latent(run):
    return int(np.argmax(run.index.table["train_n_active"]))


def test_it_is_held_at_its_largest_activation_beside_nothing_and_another(run, latent):
    found = run.pinned(latent, **FEW)
    assert found.value == found.largest == run.index.record(latent).statistics["train"].max
    assert found.prompt == PREFIX and found.at == "all" and found.beside != latent
    assert found.beside_kl == pytest.approx(found.kl, rel=0.5), "as near as it comes"
    assert len(found.samples) == 2 and len({sample.seed for sample in found.samples}) == 2
    for sample in found.samples:
        for one in (sample.plain, sample.pinned, sample.beside):
            assert one.text == "".join(token.text for token in one.tokens) and len(one.tokens) <= 8
            assert one.loss == pytest.approx(np.mean([token.loss for token in one.tokens]))
            assert one.active_share == np.mean([token.activation > 0 for token in one.tokens])
    assert found.mean("pinned", "loss") == pytest.approx(np.mean([one.pinned.loss for one in found.samples]))
    assert run.pinned(latent, **FEW) == found, "the same seed, the same texts"
    other = run.pinned(latent, seed=1, value=2.0, at="last", prompt="def f(", **FEW)
    assert other.value == 2.0 and other.samples[0].pinned.text != found.samples[0].pinned.text


def test_from_the_command_line(run, latent, capsys):
    options = ["--latent", str(latent), "--pin", "--tokens", "8", "--samples", "2"]
    with pytest.raises(SystemExit) as ended:
        main(["steer", str(run.workspace.path), *options, "--json"])
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out) == run.pinned(latent, **FEW).to_json()
    with pytest.raises(SystemExit):
        main(["steer", str(run.workspace.path), *options, "--value", "3", "--at", "last"])
    printed = capsys.readouterr().out
    assert f"latent {latent} held at 3" in printed and "2. plain" in printed and "means of 2 samples" in printed


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--latent", "1", "--pin", "--strength", "2"], "--pin was given with --strength"),
        (["--latent", "1", "--pin", "--kl", "1"], "--pin was given with --kl"),
        (["--latent", "1", "--latent", "2", "--pin"], "--pin was given with 2 latents"),
        (["--pin"], "--pin was given with 0 latents"),
        (["--latent", "1", "--pin", "--at", "first"], "held at 'first'"),
        (["--latent", "1", "--value", "2", "--prompt", "x"], "--value was given without --pin"),
        (["--latent", "1"], "No prompt was given"),
        (["--latent", "1", "--pin", "--samples", "0"], "0 samples were asked for"),
    ],
)
def test_what_means_nothing_together_is_refused(run, options, why, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["steer", str(run.workspace.path), *options])
    assert ended.value.code == 2
    assert why in capsys.readouterr().err


def test_a_latent_that_is_never_active_says_how_much_it_needs(run):
    silent = np.flatnonzero(run.index.table["train_max"] <= 0)
    if len(silent):
        with pytest.raises(UserError, match="never active above 0"):
            run.pinned(int(silent[0]), **FEW)
    with pytest.raises(UserError, match="was asked for"):
        run.pinned(10**9, **FEW)


def test_some_latents_are_measured_beside_their_nulls(run):
    found = run.do("analyse pinned", n_latents=4, n_samples=1, n_new=6, least_active=10)
    assert len(found.latents) == 4 and not found.left_out
    groups = [one.group for one in found.latents]
    assert groups.count("best rules") == 2 and groups.count("drawn at random") == 2
    assert len({one.latent for one in found.latents}) == 4
    assert all(one.other != one.latent and one.value > 0 for one in found.latents)
    figures = {one.name: one for one in Figures.read(run.folder / "pinned").figures}
    active = figures["pinned/active_share"]
    assert active.value == pytest.approx(np.mean([one.pinned.active_share for one in found.latents]))
    assert active.null == pytest.approx(np.mean([one.plain.active_share for one in found.latents]))
    (control,) = active.controls.values()
    assert control == pytest.approx(np.mean([one.beside.active_share for one in found.latents]))
    more = figures["pinned/more_than_random"]
    assert more.value == np.mean([one.pinned.active_share > one.beside.active_share for one in found.latents])
    assert more.null == np.mean([one.pinned.active_share < one.beside.active_share for one in found.latents])
    assert figures["pinned/more_than_random_best_rules"].n == 2
    assert figures["pinned/loss"].value > figures["pinned/loss"].null, "held, it writes what it would not write"
    again = run.do("analyse pinned", n_latents=4, n_samples=1, n_new=6, least_active=10, seed=1)
    assert [one.latent for one in again.latents[:2]] == [one.latent for one in found.latents[:2]]
    assert again != found


def test_too_few_latents_are_refused(run):
    with pytest.raises(UserError, match="latents are active on 1000000 training tokens"):
        run.do("analyse pinned", least_active=10**6)
