"""The quality of a shuffle: against counting every pair, at its two ends, and as a run keeps it."""

from itertools import combinations

import numpy as np
import pytest

from sparselex.activations.config import HarvestConfig
from sparselex.activations.harvest import harvest
from sparselex.activations.live import LiveUnits, Reader
from sparselex.activations.mixing import mixing
from sparselex.activations.shuffle import ShuffledSource
from sparselex.base.sites import Sites
from sparselex.lm.load import load_model
from sparselex.recipes.run import MEASURED_BATCHES
from sparselex.recipes.work.choices import train_config
from sparselex.text.build import build_corpus
from sparselex.text.config import CorpusConfig
from sparselex.text.sources import load_documents
from tests.support.small import small_run, write_documents

HOOK = "blocks.0.hook_resid_post"
SITES = Sites.at(HOOK)
N_CTX = 32


def slow_mixing(batches, n_ctx, positions):
    """Pair by pair; `positions` are those of the whole epoch."""
    share = lambda pairs: np.mean([a // n_ctx == b // n_ctx for a, b in pairs])
    same = share([pair for batch in batches for pair in combinations(batch, 2)])
    rows = [[row // n_ctx for row in batch] for batch in batches]
    effective = [1 / sum((one.count(row) / len(one)) ** 2 for row in set(one)) for one in rows]
    return same, same / share(list(combinations(positions, 2))), np.mean(effective)


def epoch(n_rows, n_ctx, seed=0):
    """Positions of rows that hold unequally many tokens, and how many each holds."""
    rng = np.random.default_rng(seed)
    positions = np.flatnonzero(rng.random(n_rows * n_ctx) < 0.8)
    return positions, np.bincount(positions // n_ctx, minlength=n_rows)


@pytest.mark.parametrize("shuffled", [False, True])
def test_it_equals_counting_every_pair(shuffled):
    positions, sizes = epoch(20, 16)
    order = np.random.default_rng(1).permutation(positions) if shuffled else positions
    batches = np.array_split(order, 5)[:3]
    found = mixing(batches, 16, sizes)
    assert (found.same_row, found.ratio, found.rows_per_batch) == pytest.approx(
        slow_mixing([batch.tolist() for batch in batches], 16, positions.tolist())
    )


def test_its_two_ends():
    positions, sizes = epoch(2000, 64)
    order = np.random.default_rng(2).permutation(positions)
    perfect = mixing(np.array_split(order, 100), 64, sizes)
    assert perfect.ratio == pytest.approx(1, abs=0.05) and perfect.rows_per_batch > 650
    whole_rows = mixing([positions[positions // 64 == row] for row in range(50)], 64, sizes)
    assert whole_rows.same_row == 1 and whole_rows.rows_per_batch == 1


def test_streams_without_pairs():
    one = mixing([np.array([3])], 4, np.array([1, 1]))
    assert (one.same_row, one.ratio, one.rows_per_batch) == (0, 1, 1)
    none = mixing([], 4, np.array([], dtype=np.int64))
    assert (none.same_row, none.ratio, none.rows_per_batch) == (0, 1, 0)


@pytest.fixture(scope="module")
def model():
    return load_model("embedded")


@pytest.fixture(scope="module")
def corpus(model, tmp_path_factory):
    root = tmp_path_factory.mktemp("mixing")
    documents = load_documents(str(write_documents(root / "text", 24)))
    return build_corpus(documents, model.tokenizer, CorpusConfig(source="x", n_ctx=N_CTX), root / "corpus")


@pytest.mark.parametrize("stored", [False, True])
def test_the_plan_is_what_is_given_out(model, corpus, tmp_path, stored):
    units = LiveUnits(Reader(model, corpus, SITES, batch_rows=8), ["train"])
    if stored:
        units = harvest(model, corpus, SITES, HarvestConfig(shard_rows=16), tmp_path / "a").units()
    source = ShuffledSource(units, batch_size=100, block_tokens=1024, seed=4)
    plan = list(source.plan(25))
    assert len(plan) == 25 and source.state() == {"epoch": 0, "block": 0, "batch": 0}
    for planned in plan:
        assert np.array_equal(planned, source.next_batch().positions)
    assert source.state()["block"] > 1, "the comparison crossed blocks"
    n_all = sum(len(part) for part in source.plan(10**6))
    assert n_all == len(units.positions(np.arange(units.n_units))), "a plan ends with the epoch"


def test_larger_blocks_mix_better(model, corpus):
    units = LiveUnits(Reader(model, corpus, SITES, batch_rows=8), ["train"])
    sizes = corpus.text_mask(corpus.row_ranges["train"]).sum(-1)
    ratios = [
        mixing(ShuffledSource(units, batch_size=64, block_tokens=n, seed=0).plan(30), N_CTX, sizes).ratio
        for n in (64, 512, 10**6)
    ]
    assert ratios[0] > 2 * ratios[1] > 4 * ratios[2] and ratios[2] == pytest.approx(1, abs=0.1)


@pytest.mark.slow
def test_a_run_keeps_it(tmp_path):
    run = small_run(tmp_path)
    config = train_config(run, run.stage("train").choice)
    run.do("train")
    kept = run.manifest("dictionary").notes["mixing"]
    units = LiveUnits(run.reader, ["train"])
    source = ShuffledSource(units, batch_size=config.batch_size, block_tokens=131_072, seed=config.seed)
    batches = [source.next_batch().positions for _ in range(min(MEASURED_BATCHES, len(list(source.plan(10**6)))))]
    sizes = run.corpus.text_mask(run.corpus.row_ranges["train"]).sum(-1)
    assert kept == mixing(batches, run.corpus.n_ctx, sizes).to_json()
