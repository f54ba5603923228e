"""The small transformer of a task: kept once it is trained, and held against its checksums."""

import pytest

from sparselex.base.errors import UserError
from sparselex.recipes.task_lm import TaskModelConfig, train_task_model

SOON = TaskModelConfig(n_names=8, n_layers=1, d_model=32, batch_rows=64, least_accuracy=1e-3, least_difference=1e-3)


def test_weights_that_changed_on_disk_are_refused(tmp_path):
    folder = train_task_model(SOON, tmp_path / "lm")
    weights = folder / "model.safetensors"
    before = weights.read_bytes()
    assert train_task_model(SOON, tmp_path / "lm") == folder and weights.read_bytes() == before
    weights.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    with pytest.raises(UserError, match=r"model\.safetensors"):
        train_task_model(SOON, tmp_path / "lm")


def test_what_is_not_learnt_is_told_with_how_far_it_came(tmp_path):
    with pytest.raises(UserError, match=r"has learnt \d+\.\d % of held-out prompts in 50 steps"):
        train_task_model(SOON.model_copy(update={"n_steps": 50, "least_accuracy": 1.0}), tmp_path / "lm")
    assert not (tmp_path / "lm").exists()
