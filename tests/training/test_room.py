"""Training that cannot fit into memory is refused before anything is made."""

import pytest

from sparselex.base.errors import UserError
from sparselex.dictionaries.ranks import ALONE
from sparselex.training import room
from sparselex.training.config import TrainConfig
from tests.support.small import small_run

CONFIG = {"dictionary": {"kind": "topk", "d_in": 16, "d_sae": 64, "k": 4}, "n_tokens": 1000}
N_BYTES = 16 * 2 * 16 * 64


def test_what_is_learned_counts_four_times():
    assert room.needed(TrainConfig.parse(CONFIG)) == N_BYTES
    assert room.needed(TrainConfig.parse(CONFIG | {"frozen": "decoder"})) == N_BYTES // 4


def test_a_pursuit_has_no_encoder():
    config = {"dictionary": {"kind": "matching_pursuit", "d_in": 16, "d_sae": 64, "k": 4}, "n_tokens": 1000}
    assert room.needed(TrainConfig.parse(config)) == N_BYTES // 2


def test_all_that_are_trained_at_once_count(monkeypatch):
    config = TrainConfig.parse(CONFIG)
    monkeypatch.setattr(room, "free_memory", lambda: 2 * N_BYTES)
    room.check_room([config, config], ALONE)
    with pytest.raises(UserError, match=r"3 dictionaries at once would take .* to train") as caught:
        room.check_room([config, config, config], ALONE)
    assert "fits into memory" in caught.value.expected and "--expansion" in caught.value.todo
    monkeypatch.setattr(room, "free_memory", lambda: None)
    room.check_room([config] * 99, ALONE)


@pytest.mark.parametrize(("verb", "options"), [("train", {}), ("sweep", {"kinds": ("topk",), "ks": (4,)})])
def test_nothing_is_left_where_it_does_not_fit(tmp_path, monkeypatch, verb, options):
    run = small_run(tmp_path)
    monkeypatch.setattr(room, "free_memory", lambda: 2**20)
    wide = {"expansion": 1000.0} if verb == "train" else {"expansions": (1000.0,)}
    with pytest.raises(UserError, match=r"would take .* GiB to train"):
        run.do(verb, **wide, **options)
    # The text is there as tokens by then, whole and good for a smaller dictionary.
    left = {path.name for path in (run.workspace.path / "runs").rglob("*")}
    assert left <= {"main", "run.json", "tickets.json"}
    assert not list(run.workspace.path.rglob(".*.partial"))
