"""The recipe of Towards Monosemanticity as an option: what it fills in, and that no vector is used twice in a pass."""

import numpy as np
import pytest

from sparselex.base.errors import UserError
from sparselex.recipes.choice import TrainingChoice
from sparselex.recipes.of_2023 import settings_of_2023
from sparselex.recipes.run import Run
from sparselex.recipes.stages.sweep import Sweep
from sparselex.recipes.work.choices import choice_of, train_config
from sparselex.recipes.work.sweep import members_of
from sparselex.training.trainer import Trainer
from tests.support.small import small_run

THE_PAPERS = 8_192 * 1_000_000
"""Tokens of its training: a million steps."""


def test_at_the_papers_size_it_is_the_papers():
    settings = settings_of_2023(THE_PAPERS, 4096)
    assert settings["resample_after_tokens"] == 12_500 * 8_192 and settings["resample_tokens"] == 819_200
    assert settings["lr"] == pytest.approx(8e-4) and settings_of_2023(10**6, 16_384)["lr"] == pytest.approx(4e-4)
    assert (settings["batch_size"], settings["calibration_batches"]) == (8_192, 8)
    assert (settings["auxk_alpha"], settings["decay_share"], settings["clip"]) == (0, 0, None)


@pytest.mark.parametrize("n_tokens", [400_000, 3_000_000, 100_000_000, 300_000_000, 10**10])
def test_the_window_of_silence_fits_between_two_resamplings(n_tokens):
    between, window = 0.025 * n_tokens, settings_of_2023(n_tokens, 4096)["resample_after_tokens"]
    assert between / 2 - 1 <= window < between
    assert window >= min(5_000_000, 0.9 * between) - 1


def test_a_short_run_takes_small_batches_and_starts_from_as_many_tokens():
    found = {n: settings_of_2023(n, 4096) for n in (300_000, 3_000_000, 4_400_000, 20_000_000)}
    assert [one["batch_size"] for one in found.values()] == [512, 512, 1024, 4096]
    assert all(one["batch_size"] * one["calibration_batches"] >= 16_384 for one in found.values())


def test_the_window_goes_with_the_times_of_resampling():
    shares = (0.125, 0.25, 0.375, 0.5)
    assert settings_of_2023(1_000_000, 4096, shares)["resample_after_tokens"] == 112_500
    assert settings_of_2023(10**9, 4096, shares)["resample_after_tokens"] == 62_500_000
    assert settings_of_2023(10**6, 4096, ()) == settings_of_2023(10**6, 4096)


def test_it_fills_in_what_nobody_chose(small_workspace):
    run = Run.open(small_workspace)
    config = train_config(run, TrainingChoice(kind="relu", recipe="2023", n_tokens=200_000))
    found = config.dictionary.to_json()
    expected = {"convention": "2023", "l1": 0.004, "l1_convention": "raw", "warmup_share": 0.0, "start": "kaiming"}
    expected |= {"resample_to": "input", "b_dec_start": "median", "resample_shares": [0.025, 0.05, 0.075, 0.1]}
    assert {name: found[name] for name in expected} == expected
    assert config.clip is None and config.auxk_alpha == config.decay_share == config.warmup_share == 0
    later = {"resample_shares": [0.2, 0.4]}
    after = train_config(run, TrainingChoice(kind="relu", recipe="2023", n_tokens=200_000, options=later))
    assert (config.resample_after_tokens, after.resample_after_tokens) == (4_500, 36_000)
    chosen = TrainingChoice(
        kind="relu", recipe="2023", l1=0.02, options={"start": "tied"}, settings={"auxk_alpha": 0.5}, n_tokens=200_000
    )
    other = train_config(run, chosen)
    assert (other.dictionary.l1, other.dictionary.start, other.auxk_alpha) == (0.02, "tied", 0.5)
    # Read back from what was trained, it needs no recipe.
    back = choice_of(other)
    assert back.recipe == "ours" and train_config(run, back) == other
    assert train_config(run, TrainingChoice(kind="relu", n_tokens=200_000)).dictionary.l1_convention == "scaled"


def test_a_sweep_has_it_too(small_workspace):
    run = Run.open(small_workspace)
    stage = Sweep(kinds=("relu",), recipe="2023", l1s=(0.004, 0.01), expansions=(1,), n_tokens=100_000)
    found = [train_config(run, member.choice) for member in members_of(run, stage)]
    assert [(one.dictionary.l1, one.dictionary.l1_convention) for one in found] == [(0.004, "raw"), (0.01, "raw")]
    assert all(one.clip is None and one.dictionary.start == "kaiming" for one in found)


def test_another_type_is_refused(tmp_path):
    run = small_run(tmp_path)
    with pytest.raises(UserError, match=r"(?s)recipe of 2023.*type batchtopk.*--kind relu"):
        run.do("train", recipe="2023")
    assert [path.name for path in run.workspace.path.rglob("*")] == ["sparselex.json"]


def test_a_pass_uses_every_vector_once(tmp_path, monkeypatch):
    """What is looked at ahead, for resampling, is trained on later and once."""
    seen, plain = [], Trainer.step

    def watched(self, batch, ahead=None):
        seen.append(batch.positions)
        if len(seen) == 2:
            assert len(ahead(5_000)) > 1
        return plain(self, batch, ahead)

    monkeypatch.setattr(Trainer, "step", watched)
    run = small_run(tmp_path)
    settings = {"batch_size": 400, "resample_tokens": 1_000}
    run.do("train", kind="relu", recipe="2023", expansion=0.25, settings=settings)
    positions = np.concatenate(seen)
    assert len(np.unique(positions)) == len(positions)
    assert len(positions) >= 0.98 * run.n_training_tokens  # norm outliers are left out
