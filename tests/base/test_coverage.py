"""Intervals hold what they should on documents that are as uneven as real ones: those of the standard library."""

import sysconfig
from pathlib import Path

import numpy as np
import pytest

from sparselex.base.intervals import LEAST_DOCUMENTS, effective_units, jackknife

N_DRAWS, N_DOCUMENTS = 600, 105


@pytest.fixture(scope="module")
def sums():
    """`[n_documents, 4]`: characters, lines, characters of comments, indented lines of every module."""
    found = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")) + sorted(
        Path(sysconfig.get_path("stdlib")).glob("[a-z]*/*.py")
    ):
        if "site-packages" in path.parts or "test" in path.parts:
            continue
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        comments = sum(len(line) for line in lines if line.lstrip().startswith("#"))
        found.append([sum(map(len, lines)), len(lines), comments, sum(line.startswith(" ") for line in lines)])
    found = np.array(found, dtype=float)
    return found[found[:, 1] > 20]


STATISTICS = {
    "characters of a line": lambda s: s[..., 0] / s[..., 1],
    "share of lines that are indented": lambda s: s[..., 3] / s[..., 1],
    "share of characters in comments": lambda s: s[..., 2] / s[..., 0],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STATISTICS)
def test_intervals_over_real_documents_hold_the_figure_of_all(sums, name):
    statistic, rng = STATISTICS[name], np.random.default_rng(0)
    # As an evaluation does it: no document counts for more than twice its even share.
    weight = np.minimum(1, 2 * np.median(sums[:, 1]) / sums[:, 1])
    fair = sums * weight[:, None]
    truth, hits = float(statistic(fair.sum(0))), []
    for _ in range(N_DRAWS):
        drawn = fair[rng.choice(len(fair), N_DOCUMENTS, replace=False)]
        found = jackknife(drawn, statistic, drawn[:, 1])
        assert effective_units(drawn[:, 1]) > LEAST_DOCUMENTS
        hits.append(found.interval(LEAST_DOCUMENTS).low <= truth <= found.interval(LEAST_DOCUMENTS).high)
    assert len(fair) > 400 and 0.92 <= np.mean(hits) <= 0.99, np.mean(hits)
