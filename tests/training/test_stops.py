"""What stops training: it says why, leaves no finished folder, and goes on from where it stood once the cause is
gone."""

import json
import shutil

import pytest
import torch

from sparselex.activations.source import EndOfData
from sparselex.activations.synthetic import MixtureConfig, SparseMixture
from sparselex.base.errors import UserError
from sparselex.dictionaries.files import load_dictionary
from sparselex.dictionaries.sparse import products as sparse
from sparselex.training.config import TrainConfig
from sparselex.training.train import train
from tests.support.contents import contents

MIXTURE = MixtureConfig(d_in=16, n_features=32, l0=3)


def config(kind="batchtopk", n_tokens=6_000, **options):
    dictionary = {
        "kind": kind,
        "d_in": 16,
        "d_sae": 40,
        **(
            {"k": 3} if kind in ("topk", "batchtopk", "matryoshka", "abstopk", "matching_pursuit", "archetypal") else {}
        ),
        **({"n_points": 30} if kind == "archetypal" else {}),
    }
    values = {"batch_size": 200, "checkpoint_tokens": 2_000, "dead_after_tokens": 1_000, "calibration_batches": 2}
    return TrainConfig.parse({"dictionary": dictionary, "n_tokens": n_tokens, **values, **options})


def source():
    return SparseMixture(MIXTURE, 200)


class Breaking(SparseMixture):
    """One batch holds a NaN."""

    breaks_at = 17

    def next_batch(self):
        batch = super().next_batch()
        if self._batch == self.breaks_at:
            batch.x[7, 3] = float("nan")
        return batch


class Ending(SparseMixture):
    """Ends after some batches."""

    ends_after = 13

    def next_batch(self):
        if self._batch >= self.ends_after:
            raise EndOfData
        return super().next_batch()


def assert_same_bytes(left, right):
    assert contents(left) == contents(right)


@pytest.mark.parametrize(
    ("faulty", "message", "n_steps"),
    [
        (Breaking, "Batch 17 holds NaN or infinite activations, first in its row 7 .corpus position 3207.", 16),
        (Ending, "The activations ended after 2,600 tokens, and training was to take 6,000", 13),
    ],
)
def test_the_state_before_the_stop_is_kept(tmp_path, faulty, message, n_steps):
    train(source(), config(), tmp_path / "whole", inputs={})
    with pytest.raises(UserError, match=message):
        train(faulty(MIXTURE, 200), config(), tmp_path / "d", inputs={})
    assert not (tmp_path / "d").exists()
    progress = json.loads((tmp_path / ".d.partial" / "checkpoint" / "progress.json").read_text())
    assert progress["n_steps"] == n_steps and progress["source"] == {"batch": n_steps}
    train(source(), config(), tmp_path / "d", inputs={})
    assert_same_bytes(tmp_path / "whole", tmp_path / "d")


@pytest.mark.parametrize("left", [0, 1000])
def test_a_damaged_checkpoint_says_what_to_delete(tmp_path, left):
    """And once that is gone, training begins anew."""
    with pytest.raises(UserError, match="Batch 17"):
        train(Breaking(MIXTURE, 200), config(), tmp_path / "d", inputs={})
    state = tmp_path / ".d.partial" / "checkpoint" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:left])
    with pytest.raises(UserError, match=r"cannot be taken up(?s:.*)delete .*partial/checkpoint to begin anew"):
        train(source(), config(), tmp_path / "d", inputs={})
    shutil.rmtree(state.parent)
    train(source(), config(), tmp_path / "d", inputs={})
    train(source(), config(), tmp_path / "whole", inputs={})
    assert_same_bytes(tmp_path / "whole", tmp_path / "d")


def test_a_stop_before_the_first_step(tmp_path):
    class Late(Breaking):
        """Sound while the scale is measured, broken when training reads the same batch."""

        reads = 0

        def next_batch(self):
            self.reads += 1
            self.breaks_at = 1 if self.reads == 3 else 0
            return super().next_batch()

    with pytest.raises(UserError, match="Batch 1 holds NaN"):
        train(Late(MIXTURE, 200), config(), tmp_path / "d", inputs={})
    train(source(), config(), tmp_path / "d", inputs={})
    train(source(), config(), tmp_path / "whole", inputs={})
    assert_same_bytes(tmp_path / "whole", tmp_path / "d")


def test_broken_activations_in_the_calibration(tmp_path):
    broken = Breaking(MIXTURE, 200)
    broken.breaks_at = 2
    with pytest.raises(UserError, match="The calibration holds NaN"):
        train(broken, config(), tmp_path / "d", inputs={})


def test_an_empty_source(tmp_path):
    empty = Ending(MIXTURE, 200)
    empty.ends_after = 0
    with pytest.raises(UserError, match="holds no activations"):
        train(empty, config(), tmp_path / "d", inputs={})


def test_a_source_shorter_than_the_calibration_is_enough(tmp_path):
    short = Ending(MIXTURE, 200)
    short.ends_after = 3
    train(short, config(n_tokens=600, calibration_batches=8), tmp_path / "d", inputs={})


@pytest.mark.parametrize("kind", ["batchtopk", "topk", "relu"])
def test_divergence_stops_and_finishes_nothing(tmp_path, kind):
    """A BatchTopK dictionary of NaN selects nothing and has a finite loss: without the check it would be saved as a
    result."""
    with pytest.raises(UserError, match=r"Training diverged at step \d+: loss .*\n.*\n.*lower the learning rate"):
        train(source(), config(kind, lr=1e30), tmp_path / "d", inputs={})
    assert not (tmp_path / "d").exists()


def test_a_last_step_that_diverges_replaces_nothing(tmp_path):
    """No loss comes behind it that would show it."""
    before = train(source(), config(), tmp_path / "d", inputs={})
    manifest = (tmp_path / "d" / "manifest.json").read_bytes()
    one_step = config(lr=1e300, n_tokens=config().batch_size, warmup_share=0.0)
    with pytest.raises(UserError, match=r"Training diverged in its last step: .*W_enc"):
        train(source(), one_step, tmp_path / "d", inputs={})
    assert (tmp_path / "d" / "manifest.json").read_bytes() == manifest
    assert torch.equal(load_dictionary(tmp_path / "d").W_dec, before.W_dec)


@pytest.mark.parametrize("option", ["warmup_share", "decay_share"])
def test_a_share_is_at_most_one(option):
    with pytest.raises(UserError, match=option):
        config(**{option: 1.5})


@pytest.mark.parametrize("kind", ["batchtopk", "topk", "relu"])
def test_dense_gradients_train_to_the_same_dictionary(tmp_path, kind, monkeypatch):
    expected = train(source(), config(kind), tmp_path / "sparse", inputs={})
    monkeypatch.setattr(sparse, "_Decode", None)  # what only the sparse path needs
    monkeypatch.setattr(sparse, "_EncodeAt", None)
    with pytest.raises(AttributeError):
        train(source(), config(kind), tmp_path / "without", inputs={})
    found = train(source(), config(kind, gradients="dense"), tmp_path / "dense", inputs={})
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, rtol=1e-3, atol=1e-3)


def dictionary_options(kind, **options):
    plain = config(kind, n_tokens=20_000)
    return plain.model_copy(update={"dictionary": plain.dictionary.model_copy(update=options)})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "option"),
    [
        ("topk", {"k": 4}),
        ("batchtopk", {"k": 4}),
        ("relu", {"l1": 9.0}),
        ("topk", {"d_sae": 44}),
        ("batchtopk", {"threshold_rate": 0.5}),
        ("relu", {"convention": "2023"}),
        ("relu", {"warmup_share": 0.5}),
        ("jumprelu", {"sparsity": "l0"}),
        ("jumprelu", {"sparsity": "tanh"}),
        ("jumprelu", {"weight": 3.0}),
        ("jumprelu", {"target_l0": 9.0}),
        ("jumprelu", {"gradient": "everything"}),
        ("jumprelu", {"bandwidth": 1.5}),
        ("jumprelu", {"warmup_share": 0.9}),
        ("gated", {"l1": 9.0}),
        ("gated", {"warmup_share": 0.9}),
        ("matryoshka", {"prefixes": (0.9,)}),
        ("panneal", {"l1": 9.0}),
        ("panneal", {"p_end": 0.9}),
        ("panneal", {"start_share": 0.7}),
        ("panneal", {"n_updates": 2}),
        ("panneal", {"warmup_share": 0.9}),
        ("abstopk", {"k": 4}),
        ("matching_pursuit", {"k": 4}),
        ("matching_pursuit", {"stop_below": 0.3}),
        ("archetypal", {"k": 4}),
        ("archetypal", {"n_points": 40}),
        ("archetypal", {"delta": 0.0}),
    ],
    ids=str,
)
def test_each_option_of_a_type_changes_something(tmp_path, kind, option):
    plain = train(source(), dictionary_options(kind), tmp_path / "a", inputs={})
    changed = train(source(), dictionary_options(kind, **option), tmp_path / "b", inputs={})
    x = source().sample(99)
    assert not torch.equal(plain(x), changed(x))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["batchtopk", "topk"])
def test_bfloat16_selection_trains_to_the_same_loss(tmp_path, kind):
    """Stated tolerance: 0.5 % of the mean loss over the last fifth of the run."""
    runs = []
    for selection in ("float32", "bfloat16"):
        train(
            source(),
            dictionary_options(kind, selection=selection).model_copy(update={"log_steps": 1}),
            tmp_path / selection,
            inputs={},
        )
        lines = (tmp_path / selection / "log.jsonl").read_text().splitlines()
        runs.append([json.loads(line)["loss"] for line in lines[-20:]])
    assert runs[0] != runs[1] and abs(sum(runs[1]) / sum(runs[0]) - 1) < 0.005


def test_inference_keeps_about_k_latents_on_new_data(tmp_path):
    dictionary = train(source(), config(n_tokens=60_000, lr=3e-3), tmp_path / "d", inputs={})
    fresh = torch.cat([source().sample(1000 + number) for number in range(10)])
    assert abs(len(dictionary.encode_sparse(fresh).indices) / len(fresh) - 3) < 0.3
