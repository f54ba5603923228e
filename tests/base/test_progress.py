"""Where no bar can be drawn, a log says now and then that work goes on."""

from types import SimpleNamespace

import pytest

from sparselex.base import pace
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


def test_what_needs_no_work_is_counted_on_no_more(said):
    with progress("explain", 10, "latents") as bar:
        bar.spare(6)
        bar.advance(2)
        assert said().startswith("explain: 50 %")
    with progress("explain", None, "latents") as bar:
        bar.spare(6)
        bar.advance(2)
    assert said().startswith("explain: 2 latents")


def test_what_is_not_to_be_shown_says_nothing(said):
    with progress("train", 10, "tokens", shown=False) as bar:
        bar.advance(5)
    assert said() == ""


def test_short_work_says_nothing(capsys):
    with progress("train", 10, "tokens") as bar:
        bar.advance(10)
    assert capsys.readouterr().err == ""


def test_what_is_fetched_first_has_a_time_left_before_anything_is_done(said, monkeypatch):
    """Of all there is to do, by what fetching has taken; and behind each block that is fetched, of both."""
    now = [0.0]
    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def passes(seconds):
        now[0] += seconds

    with progress("train", 10_000, "tokens") as bar:
        for _ in range(2):
            passes(1)
            bar.fetched(500)
        assert said().splitlines() == [
            "train: 0 %, 500 tokens/s read, 0:00:19 left",
            "train: 0 %, 500 tokens/s read, 0:00:18 left",
        ]
        passes(3)
        bar.advance(1_000)  # a token now costs two milliseconds to fetch and three to learn from
        passes(1)
        bar.fetched(500)
        assert said().splitlines() == [
            "train: 10 %, 200 tokens/s, 0:00:45 left",
            "train: 10 %, 200 tokens/s, 0:00:44 left",
        ]


def test_what_was_done_before_says_nothing_of_the_speed(said):
    with progress("train", 100, "tokens", done=60) as bar:
        bar.advance(20)
    assert said() == "train: 80 %\n"
