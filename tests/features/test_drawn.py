"""Some tokens of each row: what an index of them counts, and what it keeps all the same."""

import shutil

import numpy as np
import pytest

from sparselex.base.errors import UserError
from sparselex.features.config import IndexConfig
from sparselex.features.drawn import drawn_tokens
from sparselex.recipes.run import Run
from sparselex.text.splits import SPLITS

N = 4


@pytest.fixture(scope="module")
def few(small_workspace, tmp_path_factory):
    """The run's index, of four tokens of each row."""
    folder = tmp_path_factory.mktemp("few") / "w"
    shutil.copytree(small_workspace.path, folder)
    run = Run.open(folder)
    return run.do("index", replace=True, tokens_per_row=N, train_rows=None)


def test_so_many_of_each_row_are_drawn_again_and_again_alike():
    positions = np.flatnonzero(np.random.default_rng(0).random(400 * 16) < 0.6)  # as many as are counted
    drawn = drawn_tokens(positions, 16, IndexConfig(tokens_per_row=5))
    rows = positions // 16
    assert np.array_equal(np.bincount(rows[drawn]), np.minimum(np.bincount(rows), 5))
    parts = [drawn_tokens(positions[rows == row], 16, IndexConfig(tokens_per_row=5)) for row in np.unique(rows)]
    assert np.array_equal(np.concatenate(parts), drawn), "neither other rows nor the order of reading matters"
    another = drawn_tokens(positions, 16, IndexConfig(tokens_per_row=5, seed=1))
    assert another.sum() == drawn.sum() and not np.array_equal(another, drawn)
    columns = np.bincount(positions[drawn] % 16, minlength=16) / np.bincount(positions % 16, minlength=16)
    assert columns.std() < 0.05, "no column is drawn more often than others"
    assert drawn_tokens(positions, 16, IndexConfig()).all()


def test_statistics_and_examples_are_of_drawn_tokens_and_columns_of_all(few, small_index):
    corpus, drawn = few.corpus, few.drawn
    per_row = drawn.reshape(corpus.n_rows, corpus.n_ctx).sum(1)
    read = few.counted.reshape(corpus.n_rows, corpus.n_ctx).sum(1)
    assert np.array_equal(per_row, np.minimum(read, N)) and few.counted[drawn].all()
    assert few.n_counted == small_index.n_counted == small_index.n_tokens and small_index.drawn is None
    assert sum(few.n_tokens.values()) == drawn.sum() and np.array_equal(few.counted, small_index.counted)
    some = 0
    for latent in range(few.d_sae):
        positions, values = few.column(latent)
        whole = small_index.column(latent)
        assert np.array_equal(positions, whole[0]) and np.array_equal(values, whole[1])
        record, inside = few.record(latent), drawn[positions]
        for number, split in enumerate(SPLITS):
            rows = corpus.row_ranges[split]
            there = inside & (positions // corpus.n_ctx >= rows.start) & (positions // corpus.n_ctx < rows.stop)
            assert few.table[f"{split}_n_active"][latent] == there.sum(), number
            mean = values[there].sum(dtype=float) / few.n_tokens[split]
            assert few.table[f"{split}_mean"][latent] == pytest.approx(mean, rel=1e-5, abs=1e-12)
        assert record.density == pytest.approx(inside.sum() / drawn.sum())
        shown = [*record.top, *record.random, *(one for part in record.intervals for one in part.examples)]
        shown += few.examples(latent, "train", 5) + few.examples(latent, "train", 5, seed=3)
        assert drawn[[example.position for example in shown]].all()
        if inside.any():
            some += 1
            assert sum(record.histogram.counts) == sum(record.log_histogram.counts) == inside.sum()
        else:
            assert record.dead and not shown
    assert some > few.d_sae // 4


def test_the_draw_is_in_the_manifest(few):
    options = few.manifest.config["options"]
    assert options["tokens_per_row"] == N and options["seed"] == 0
    assert "drawn.npy" in few.manifest.files


def test_a_sample_of_activations_draws_by_itself():
    with pytest.raises(UserError, match="leave one out"):
        IndexConfig.parse({"tokens_per_row": 10, "store": False})
