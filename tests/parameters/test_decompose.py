"""Training of components: stopped and taken up again, and refused where it runs away."""

import pytest
import torch
from safetensors.torch import save_file

from sparselex.base.errors import UserError
from sparselex.parameters import decompose as module
from sparselex.parameters.config import SpdConfig
from sparselex.parameters.decompose import decompose, new_components
from sparselex.parameters.toys.config import TmsConfig
from sparselex.parameters.toys.tms import EMBED, draw_active, train_tms

TOY = TmsConfig(n_steps=0)
CONFIG = SpdConfig(n_components=6, d_gate=3, n_steps=30, batch_size=16)

OPTIONS = {
    "stochastic": 2.0,
    "layerwise": 2.0,
    "minimality": 6e-3,
    "faithfulness": 2.0,
    "p": 2.0,
    "seed": 1,
    "lr": 2e-3,
    "gate_lr": 3.0,
    "bare": 0.5,
    "cut": 0.95,
}
"""Another value of each option than the one that it has."""


def draw(n, generator):
    return draw_active(n, TOY, generator)


def same(one, other):
    return all(
        torch.equal(value, other[name].state_dict()[key])
        for name, part in one.items()
        for key, value in part.state_dict().items()
    )


def test_stopped_and_taken_up_it_ends_in_the_same_components(tmp_path, monkeypatch):
    target = train_tms(TOY, 0)
    whole = decompose(target, draw, CONFIG, tmp_path / "whole", "toy")
    monkeypatch.setattr(module, "_SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    left = iter(range(11))

    def killed(n, generator):
        next(left)
        return draw(n, generator)

    with pytest.raises(StopIteration):
        decompose(target, killed, CONFIG, tmp_path / "halved", "toy")
    drawn = []
    again = decompose(target, lambda n, g: drawn.append(n) or draw(n, g), CONFIG, tmp_path / "halved", "toy")
    assert len(drawn) == 1 + 30 - 10 + 1  # what components begin as, what is left of the steps, and a last look
    assert same(whole, again)


def test_what_is_done_is_not_done_again(tmp_path):
    target = train_tms(TOY, 0)
    first = decompose(target, draw, CONFIG, tmp_path / "one", "toy")
    drawn = []
    again = decompose(target, lambda n, g: drawn.append(n) or draw(n, g), CONFIG, tmp_path / "one", "toy")
    assert len(drawn) == 1 and same(first, again)


def test_components_begin_as_inputs_or_at_random():
    target, draws = train_tms(TOY, 0), lambda: torch.Generator().manual_seed(0)
    as_inputs = new_components(target, draw, CONFIG, draws())[EMBED]
    x = draw(CONFIG.n_components, draws())
    assert torch.allclose(as_inputs.V, x / x.norm(dim=-1, keepdim=True))
    at_random = new_components(target, draw, CONFIG.model_copy(update={"begin": "random"}), draws())[EMBED]
    assert not torch.allclose(as_inputs.V, at_random.V) and (at_random.V < 0).any()


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_changes_what_comes_out(tmp_path, option):
    target = train_tms(TOY, 0)
    changed = CONFIG.model_copy(update={option: OPTIONS[option]})
    made = [decompose(target, draw, one, tmp_path / str(n), "toy") for n, one in enumerate((CONFIG, changed))]
    assert not same(*made)


def test_a_loss_that_is_not_finite_is_told(tmp_path):
    target = train_tms(TOY, 0)
    target.bias[:] = float("nan")
    with pytest.raises(UserError, match="not finite, in step 0"):
        decompose(target, draw, CONFIG, tmp_path / "one", "toy")


def test_inputs_are_what_they_are_said_to_be():
    generator = torch.Generator().manual_seed(0)
    x = draw_active(4000, TmsConfig(probability=0.05), generator)
    assert x.shape == (4000, 5) and (x > 0).any(-1).all() and x.max() <= 1
    # Of five features with a chance of 0.05 each, given that one is active at least.
    assert (x > 0).float().sum(-1).mean() == pytest.approx(0.25 / (1 - 0.95**5), rel=0.02)
    assert x[x > 0].mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("left", [b"", b"{}", None])
def test_a_damaged_checkpoint_says_what_to_delete(tmp_path, left):
    target, path = train_tms(TOY, 0), tmp_path / "checkpoint.safetensors"
    decompose(target, draw, CONFIG, path, "toy")
    path.write_bytes(path.read_bytes()[:-200] if left is None else left)
    with pytest.raises(UserError, match=r"cannot be taken up(?s:.*)delete .*checkpoint.safetensors to begin anew"):
        decompose(target, draw, CONFIG, path, "toy")
    path.unlink()
    assert decompose(target, draw, CONFIG, path, "toy")


def test_a_checkpoint_of_something_else_says_what_it_lacks(tmp_path):
    save_file({"step": torch.tensor(3)}, tmp_path / "checkpoint")
    with pytest.raises(UserError, match="it has no tensor 'generator'"):
        decompose(train_tms(TOY, 0), draw, CONFIG, tmp_path / "checkpoint", "toy")


@pytest.mark.parametrize("n_steps", [1, 7, 53])
def test_what_runs_away_in_its_last_steps_is_refused_too(tmp_path, n_steps):
    config = CONFIG.model_copy(update={"lr": 1e30, "n_steps": n_steps})
    with pytest.raises(UserError, match="a loss that is not finite"):
        decompose(train_tms(TOY, 0), draw, config, tmp_path / "checkpoint", "toy")
    assert not (tmp_path / "checkpoint").exists()
