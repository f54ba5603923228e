"""Where no bar can be drawn, a log says now and then that work goes on."""

import pytest

from sparselex.base import progress as bars
from sparselex.base.progress import progress


@pytest.fixture
def said(monkeypatch, capsys):
    """What is printed where every step is one after which something is said."""
    monkeypatch.setattr(bars, "FIRST_LINE_AFTER", 0)
    monkeypatch.setattr(bars, "SECONDS_BETWEEN_LINES", 0)
    return lambda: capsys.readouterr().err


def test_a_log_has_stage_share_speed_and_time_left(said):
    with progress("train", 4_000, "tokens") as bar:
        bar.advance(1_000)
        assert said() == "train: 25 %\n", "one step has no speed yet"
        bar.advance(2_000)
        line = said()
    assert line.startswith("train: 75 %, ") and " tokens/s, 0:00:0" in line and line.endswith(" left\n")


def test_of_work_without_an_end_it_says_how_much_is_done(said):
    with progress("tokenize", None, "tokens") as bar:
        bar.advance(1_234)
    assert said() == "tokenize: 1,234 tokens\n"


def test_what_is_not_to_be_shown_says_nothing(said):
    with progress("train", 10, "tokens", shown=False) as bar:
        bar.advance(5)
    assert said() == ""


def test_short_work_says_nothing(capsys):
    with progress("train", 10, "tokens") as bar:
        bar.advance(10)
    assert capsys.readouterr().err == ""
