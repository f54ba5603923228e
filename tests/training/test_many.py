"""Many dictionaries on one stream: each ends in the same bytes as alone, whatever happens to the others."""

import pytest

from sparselex.activations.synthetic import MixtureConfig, SparseMixture
from sparselex.base.errors import UserError
from sparselex.training.calibrate import Columns
from sparselex.training.config import TrainConfig
from sparselex.training.train import Job, train, train_many

MIXTURE = MixtureConfig(d_in=32, n_features=64, l0=3, d_out=24)
WHOLE = {
    "batch_size": 1000,
    "dead_after_tokens": 10_000,
    "checkpoint_tokens": 7_000,
    "log_steps": 3,
    "n_tokens": 30_000,
}
MEMBERS = {
    "batchtopk": ({"kind": "batchtopk", "d_in": 32, "d_sae": 96, "k": 3}, Columns()),
    "seed": (
        {
            "kind": "batchtopk",
            "d_in": 32,
            "d_sae": 96,
            "k": 3,
        },
        Columns(),
    ),
    "wide": ({"kind": "relu", "d_in": 32, "d_sae": 160}, Columns()),
    "left half": ({"kind": "jumprelu", "d_in": 16, "d_sae": 64, "target_l0": 3}, Columns(x=slice(0, 16))),
    "transcoder": ({"kind": "topk", "d_in": 32, "d_sae": 96, "k": 3, "d_out": 10}, Columns(target=slice(14, 24))),
}


def jobs(folder, **changes):
    return [
        Job(
            TrainConfig.parse(
                {"dictionary": dictionary, **WHOLE, "seed": int(name == "seed"), **changes.get(name, {})}
            ),
            folder / name,
            {"a": "b"},
            columns,
        )
        for name, (dictionary, columns) in MEMBERS.items()
    ]


class Stream(SparseMixture):
    """Counts what is read, and dies on demand as a process does."""

    dies_at, n_read = 10**9, 0

    def next_batch(self):
        if self._batch == self.dies_at:
            raise KeyboardInterrupt
        self.n_read += 1
        return super().next_batch()


def same(left, right):
    for name in ("sae_weights.safetensors", "log.jsonl", "manifest.json", "config.json"):
        assert (left / name).read_bytes() == (right / name).read_bytes(), (left, name)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The dictionary of width 32 trained by itself."""
    folder = tmp_path_factory.mktemp("alone")
    for job in jobs(folder):
        if job.columns == Columns():
            train(SparseMixture(MIXTURE, batch_size=1000), job.config, job.to, inputs=job.inputs)
    return folder


def test_each_batch_is_read_once_and_each_dictionary_is_as_if_alone(alone, tmp_path):
    stream = Stream(MIXTURE, batch_size=1000)
    found = train_many(stream, jobs(tmp_path))
    assert [d.d_sae for d in found] == [96, 96, 160, 64, 96]
    assert stream.n_read == 30 + 8  # and the calibration, once for all
    for name in ("batchtopk", "seed", "wide"):
        same(tmp_path / name, alone / name)


@pytest.mark.slow
@pytest.mark.parametrize("dies_at", [3, 9, 16, 29])
def test_killed_and_run_again(dies_at, alone, tmp_path):
    stream = Stream(MIXTURE, batch_size=1000)
    stream.dies_at = dies_at
    # Members save at different times, so they are at different steps when they go on.
    changes = {"wide": {"checkpoint_tokens": 4_000}, "seed": {"checkpoint_tokens": 11_000}}
    with pytest.raises(KeyboardInterrupt):
        train_many(stream, jobs(tmp_path, **changes))
    train_many(Stream(MIXTURE, batch_size=1000), jobs(tmp_path, **changes))
    for name in ("batchtopk", "seed", "wide"):
        assert (tmp_path / name / "sae_weights.safetensors").read_bytes() == (
            alone / name / "sae_weights.safetensors"
        ).read_bytes()


def test_one_that_diverges_does_not_stop_the_others(alone, tmp_path):
    found = train_many(Stream(MIXTURE, batch_size=1000), jobs(tmp_path, wide={"lr": 1e30}))
    assert [isinstance(result, UserError) for result in found] == [False, False, True, False, False]
    assert "diverged" in str(found[2]) and not (tmp_path / "wide").exists()
    same(tmp_path / "seed", alone / "seed")


def test_one_that_cannot_begin_does_not_stop_the_others(alone, tmp_path):
    there = jobs(tmp_path)
    fields = there[0].config.to_json()
    fields["dictionary"] = {"kind": "archetypal", "d_in": MIXTURE.d_in, "d_sae": 64, "k": 4, "n_points": 9_000}
    more = Job(TrainConfig.parse(fields, "archetypal"), tmp_path / "points", {})
    *found, refused = train_many(Stream(MIXTURE, batch_size=1000), [*there, more])
    assert not any(isinstance(one, UserError) for one in found)
    assert "9000 points were to be made of 8000 calibration tokens" in str(refused)
    assert not (tmp_path / "points").exists()
    same(tmp_path / "seed", alone / "seed")


def test_shorter_members_stop_earlier_and_finished_ones_are_left_alone(alone, tmp_path):
    train_many(Stream(MIXTURE, batch_size=1000), jobs(tmp_path, wide={"n_tokens": 10_000}))
    stream = Stream(MIXTURE, batch_size=1000)
    train_many(stream, jobs(tmp_path))
    assert stream.n_read == 38  # only the one whose configuration changed is trained again
    same(tmp_path / "wide", alone / "wide")
    again = Stream(MIXTURE, batch_size=1000)
    again.dies_at = 0
    train_many(again, jobs(tmp_path))
