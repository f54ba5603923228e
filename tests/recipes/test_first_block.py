"""A live training reads a block before its first step: meanwhile it says how fast, and how long all of it will take."""

import re

import numpy as np
import pytest

from sparselex.activations import prefetch
from sparselex.base import progress as bars
from tests.support.small import small_run

READING = re.compile(r"train: 0 %, [\d,]+ tokens/s read, \d+:\d\d:\d\d left")
LEARNING = re.compile(r"train: \d+ %, [\d,]+ tokens/s, \d+:\d\d:\d\d left")


@pytest.mark.parametrize("ahead", [0, 1], ids=["here", "in a process of its own"])
def test_progress_is_told_before_the_first_block_is_full(tmp_path, monkeypatch, capsys, ahead):
    monkeypatch.setattr(bars, "FIRST_LINE_AFTER", 0)
    monkeypatch.setattr(bars, "SECONDS_BETWEEN_LINES", 0)
    monkeypatch.setattr(prefetch, "_TELL_S", 0.001)
    run = small_run(tmp_path)
    run.do("train", prefetch=ahead)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("train")]
    first = next(number for number, line in enumerate(lines) if LEARNING.fullmatch(line))
    assert first > 1 and all(READING.fullmatch(line) for line in lines[:first]), lines[: first + 1]
    assert lines[-1].startswith("train: 100 %")
    run.reader.read(np.array(run.corpus.row_ranges["train"][:1]))
    assert not capsys.readouterr().err, "nobody listens any more"
