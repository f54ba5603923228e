"""`sparselex evaluate ioi --occlusion`, as a user types it."""

import pytest

from sparselex.evaluate.occlusion.records import Sweeps, sweeps_of
from tests.support.command import done
from tests.support.copier import write_copier

SMALL = (
    *("--n-fit", 200, "--n-test", 48, "--n-circuit", 32, "--kinds", "topk", "--l0s", 2, "--n-seeds", 1, "--budgets", 1),
    *("--n-tokens", 1500, "--most-latents", 32),
)
PLACES = "blocks.0.hook_resid_post@end,blocks.0.attn.hook_v:0@IO"


@pytest.mark.slow
def test_the_sweep_is_printed_and_stands_in_the_json_where_it_was_asked_for(tmp_path, monkeypatch):
    write_copier(model := tmp_path / "model")
    asked = ("evaluate", "ioi", tmp_path / "w", "--model", model, *SMALL, "--places", PLACES, "--as", "mine")
    plain = done(*asked)
    assert "taken out" not in plain.out and sweeps_of(tmp_path / "w" / "tasks" / "mine") is None
    swept = done(*asked, "--occlusion")
    shown = " ".join(swept.out.split())
    assert "values of S found when IO is taken out" in shown and "above the null's" in shown
    assert "no occlusion sweep at blocks.0.attn.hook_v:0@IO" in shown and "frozen decoder k=3" in shown
    monkeypatch.setattr("sparselex.recipes.tasks._WORK", "nowhere:nothing")
    again = done(*asked, "--occlusion", "--json").json
    assert Sweeps.parse(again["occlusion"], "what was printed") == sweeps_of(tmp_path / "w" / "tasks" / "mine")
