"""Reading ahead in another process: the same batches, the same position, the same errors, and no process left over."""

import gc
import multiprocessing
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from sparselex.activations.config import HarvestConfig
from sparselex.activations.harvest import harvest
from sparselex.activations.live import LiveUnits, Reader
from sparselex.activations.prefetch import PrefetchedUnits
from sparselex.activations.shuffle import ShuffledSource
from sparselex.activations.source import EndOfData, Units
from sparselex.base.errors import UserError
from sparselex.base.sites import Sites
from sparselex.dictionaries.types.batchtopk import BatchTopKConfig
from sparselex.lm.load import load_model
from sparselex.text.build import build_corpus
from sparselex.text.config import CorpusConfig
from sparselex.text.sources import load_documents
from sparselex.training.train import TrainConfig, train
from tests.support.contents import contents
from tests.support.small import small_run, write_documents
from tests.support.units import NumberUnits

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def ahead():
    """Sound units read ahead; one process for many tests."""
    units = PrefetchedUnits(NumberUnits(), 2)
    yield units
    units.close()


def source(units, n_epochs=None, seed=0):
    return ShuffledSource(units, batch_size=24, block_tokens=96, seed=seed, n_epochs=n_epochs)


def drain(stream):
    while True:
        try:
            yield stream.next_batch()
        except EndOfData:
            return


def assert_equal(left, right):
    assert torch.equal(left.x, right.x) and np.array_equal(left.positions, right.positions)


def test_batches_and_positions_are_the_same(ahead):
    assert isinstance(ahead, Units)
    plain, fetched = source(NumberUnits(), 2), source(ahead, 2)
    for _ in range(2 * 27):
        assert plain.state() == fetched.state()
        assert_equal(plain.next_batch(), fetched.next_batch())
    for stream in (plain, fetched):
        with pytest.raises(EndOfData):
            stream.next_batch()
    assert plain.state() == fetched.state()
    assert all(map(np.array_equal, plain.plan(9), fetched.plan(9)))


@pytest.mark.parametrize("n_given", [1, 7, 30])
def test_it_goes_on_bit_for_bit(ahead, n_given):
    """From a state with reading ahead to a stream without, the other way round, and back within one stream."""
    plain, fetched = source(NumberUnits(), 2), source(ahead, 2)
    for _ in range(n_given):
        plain.next_batch(), fetched.next_batch()
    state = fetched.state()
    assert state == plain.state()
    expected = list(drain(plain))
    for stream in (source(NumberUnits(), 2), source(ahead, 2), fetched):
        stream.load_state(state)
        found = list(drain(stream))
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_equal(one, other)


def test_no_more_than_asked_for_is_read_ahead(tmp_path):
    log = tmp_path / "log"
    with_log = NumberUnits(log=log)
    units = PrefetchedUnits(with_log, 2)
    stream = source(units)
    stream.next_batch()
    assert units._worker[1].poll(30), "the next block comes without being waited for"
    process = units._worker[0]
    units.close()
    with pytest.raises(ValueError, match="closed"):
        process.is_alive()
    n_read = len(log.read_text().splitlines())
    assert 2 <= n_read <= 3
    reads = [stream._block_units(0, block) for block in range(n_read)]
    assert [line.split() for line in log.read_text().splitlines()] == [[str(u) for u in read] for read in reads]
    assert not any(child.name == process.name for child in multiprocessing.active_children())


def test_errors_arrive_where_they_belong():
    order = source(NumberUnits())._order(0)
    refused, failing, nan = int(order[6]), int(order[12]), int(order[19])  # blocks 1, 2 and 3: six units each
    faulty = NumberUnits(refuses=refused, fails=failing, nan=nan)
    units = PrefetchedUnits(faulty, 3)
    plain, fetched = source(faulty), source(units)
    for _ in range(4):
        assert_equal(plain.next_batch(), fetched.next_batch())
    errors = []
    for stream in (plain, fetched):
        with pytest.raises(UserError) as error:
            stream.next_batch()
        errors.append((error.value.given, error.value.expected, error.value.todo))
    assert errors[0] == errors[1] and plain.state() == fetched.state()
    with pytest.raises(UserError, match="is no good"):
        fetched.next_batch()
    fetched.load_state({"epoch": 0, "block": 2, "batch": 0})
    with pytest.raises(RuntimeError, match=f"(?s)Traceback.*NumberUnits|units.py.*ZeroDivisionError: unit {failing}"):
        fetched.next_batch()
    fetched.load_state({"epoch": 0, "block": 3, "batch": 0})
    batches = [fetched.next_batch() for _ in range(4)]
    assert sum(int(batch.x.isnan().sum()) for batch in batches) == 1, "NaN is data here; training refuses it"

    worker = units._worker[0]
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(UserError, match="has ended \\(exit code -9\\)"):
        list(drain(fetched))
    assert units._worker is None
    fetched.load_state({"epoch": 0, "block": 0, "batch": 0})
    assert_equal(fetched.next_batch(), source(NumberUnits()).next_batch())  # a new process is started
    units.close()


def test_training_refuses_nan_the_same_way(tmp_path):
    broken = NumberUnits(nan=int(source(NumberUnits())._order(0)[19]))
    config = TrainConfig(
        dictionary=BatchTopKConfig(d_in=8, d_sae=16, k=2), n_tokens=600, batch_size=24, calibration_batches=2
    )
    messages = []
    for name, units in (("plain", broken), ("fetched", PrefetchedUnits(broken, 2))):
        with pytest.raises(UserError, match="holds NaN or infinite") as error:
            train(source(units), config, tmp_path / name, inputs={})
        messages.append(str(error.value))
        state = (tmp_path / f".{name}.partial/checkpoint/progress.json").read_text()
        assert '"block": 3' in state
    assert messages[0] == messages[1]
    pid = os.pidfd_open(units._worker[0].pid)
    del units, error  # whose traceback holds the stream
    gc.collect()
    assert ended(pid), "the process ends with the object"


def ended(pidfd: int) -> bool:
    """Whether the process has ended, waiting for it up to half a minute."""
    return bool(select.select([pidfd], [], [], 30)[0])


SCRIPT = """
from tests.support.units import NumberUnits
from sparselex.activations.prefetch import PrefetchedUnits
from sparselex.activations.shuffle import ShuffledSource

if __name__ == "__main__":
    units = PrefetchedUnits(NumberUnits(), 2)
    ShuffledSource(units, batch_size=24, block_tokens=96, seed=0).next_batch()
    print(units._worker[0].pid, flush=True)
    input()
"""


@pytest.mark.parametrize("way", ["killed", "leaves"])
def test_the_process_ends_with_its_parent(way, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    with subprocess.Popen([sys.executable, script], env=environment, stdin=-1, stdout=-1, text=True) as parent:
        pid = os.pidfd_open(int(parent.stdout.readline()))
        if way == "killed":
            parent.send_signal(signal.SIGKILL)
        else:
            parent.stdin.write("\n")
            parent.stdin.flush()
        assert ended(pid)
        assert parent.wait(30) == (-9 if way == "killed" else 0)


def test_units_that_cannot_travel():
    units = NumberUnits()
    units.read = lambda choice: None
    with pytest.raises(UserError, match="NumberUnits cannot be sent to another process"):
        PrefetchedUnits(units, 1).read(np.arange(3))
    with pytest.raises(UserError, match="at least 1 block"):
        PrefetchedUnits(units, 0)


def test_live_and_stored_units_survive_pickling(tmp_path):
    model = load_model("embedded")
    documents = load_documents(str(write_documents(tmp_path / "text", 24)))
    corpus = build_corpus(documents, model.tokenizer, CorpusConfig(source="x", n_ctx=32), tmp_path / "corpus")
    hook = "blocks.0.hook_resid_post"
    live = LiveUnits(Reader(model, corpus, Sites.at(hook), batch_rows=8), ["train"])
    chunks = harvest(model, corpus, Sites.at(hook), HarvestConfig(), tmp_path / "store").units()
    for units in (live, chunks):
        packed = pickle.dumps(units)
        assert_equal(pickle.loads(packed).read(np.array([2, 0])), units.read(np.array([2, 0])))
    assert len(pickle.dumps(chunks)) < 20_000, "no activation travels"


def test_a_run_trained_with_prefetch_ends_in_the_same_bytes(tmp_path):
    training = {"expansion": 0.25, "k": 4, "n_tokens": 40_000}  # more than one pass
    runs, before = [small_run(tmp_path / name) for name in "ab"], multiprocessing.active_children()
    for run, prefetch in zip(runs, (0, 1), strict=True):
        run.do("train", prefetch=prefetch, **training)
    live, ahead = (contents(run.folder / "dictionary") for run in runs)
    assert live.keys() == ahead.keys() and live.pop("manifest.json") != ahead.pop("manifest.json")  # two texts
    assert live == ahead
    assert runs[0].n_training_tokens < 40_000 and multiprocessing.active_children() == before
    with pytest.raises(UserError, match="prefetch"):
        runs[0].do("train", prefetch=-1)


class Large(NumberUnits):
    """Units that take more room than a pipe has."""

    def __init__(self):
        super().__init__()
        self.ballast = bytes(1 << 20)


def test_a_worker_that_dies_while_it_starts_is_told_of(monkeypatch):
    """It dies before it has read anything: what is written to it must not wait for it for ever."""
    monkeypatch.setattr(multiprocessing.spawn, "_python_exe", b"/bin/false")
    units, told = PrefetchedUnits(Large()), list[str]()

    def read():
        try:
            units.read(np.arange(2))
        except UserError as error:
            told.append(error.given)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(30)
    assert not reader.is_alive() and told == ["The process that reads ahead has ended (exit code 1)."]
