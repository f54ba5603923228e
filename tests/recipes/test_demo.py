"""What the demo says, and how long it expects things to take."""

import shutil

import pytest

from sparselex.recipes.run import Run
from sparselex.recipes.stages.index import Index
from sparselex.recipes.work.demo import _forecast
from tests.support.command import done
from tests.support.small import write_documents


@pytest.mark.slow
def test_what_is_there_is_not_said_to_be_made(tmp_path):
    text, w = write_documents(tmp_path / "text"), tmp_path / "w"
    demo = ("demo", w, "--text", text, "--context", 64, "--expansion", 0.25, "--k", 4, "--no-twin", "--no-serve")
    first = done(*demo).out
    assert "tokenizing" in first and "of 40 documents" in first and "fewer than the 5,500,000 asked for" in first
    shutil.rmtree(w / "runs" / "main" / "evaluation")
    again = done(*demo).out
    assert "tokenizing" not in again and "index is done already" in again and "main: evaluate" in again
    assert "everything is done already" in done(*demo).out


def test_the_forecast_of_an_index_follows_its_rows(small_workspace):
    run = Run.open(small_workspace)
    n_rows = len(run.corpus.row_ranges["train"])
    few, many, whole, default = (
        _forecast(run, Index(**given), 1e9)
        for given in ({"train_rows": 1}, {"train_rows": n_rows // 2}, {"train_rows": None}, {})
    )
    assert few < many < whole == default, "this corpus is smaller than what is read of one"
