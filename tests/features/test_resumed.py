"""An index that was stopped, or that several processes built, equals one of a single undisturbed process byte for
byte."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from sparselex.base.errors import UserError
from sparselex.dictionaries.ranks import Ranks
from sparselex.features import chunks
from sparselex.features.build import build_index
from sparselex.features.chunks import ChunkFiles
from sparselex.features.config import IndexConfig
from sparselex.features.folded import FoldedFiles
from sparselex.recipes.stages.index import Index
from sparselex.server.app import create_app
from tests.support.contents import contents
from tests.support.small import small_run
from tests.training.test_together import free_port


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained run."""
    made = small_run(tmp_path_factory.mktemp("resumed"), {"expansion": 0.1, "k": 4, "n_tokens": 4_000})
    made.do("train")
    return made


def built(run, to, monkeypatch, ranks=None, store=True):
    """Its index in chunks of eight rows."""
    monkeypatch.setattr(chunks, "FEWEST_TOKENS", 8 * run.corpus.n_ctx)
    config, more = IndexConfig(batch_rows=2, store=store), {} if ranks is None else {"ranks": ranks}
    return build_index(
        run.model, run.dictionary, run.corpus, run.sites, config, to, inputs={"corpus": run.corpus.id}, **more
    )


class Share(Ranks):
    """One of several processes that are taken one after the other: nobody waits."""

    is_alone = False
    is_main = False

    def __init__(self, place, n):
        super().__init__()
        self.data, self.n_data = place, n

    def wait(self):
        pass


class Stopped(BaseException):
    """Ends as a killed process does."""


FILES = {True: ChunkFiles, False: FoldedFiles}


@pytest.mark.parametrize("store", FILES)
def test_stopped_after_any_chunk_it_goes_on_after_it(run, tmp_path, monkeypatch, store):
    whole = built(run, tmp_path / "whole", monkeypatch, store=store)
    write, n_written = FILES[store].write, []

    def counted(self, chunk, read):
        if len(n_written) in stops:
            stops.remove(len(n_written))
            raise Stopped
        n_written.append(chunk.number)
        write(self, chunk, read)

    stops = {0, 3, 7}
    monkeypatch.setattr(FILES[store], "write", counted)
    for _ in (0, 3, 7):
        with pytest.raises(Stopped):
            built(run, tmp_path / "stopped", monkeypatch, store=store)
    folder, again = tmp_path / ".stopped.partial", []
    if store:  # a chunk cut short by the system is no chunk
        half = folder / ".chunks" / "000002"
        half.write_bytes(half.read_bytes()[:-1])
        again = [2]
    else:  # seven chunks are as many files as 7 has digits that are not 0
        assert sorted(path.name for path in (folder / ".chunks").glob("*-*")) == ["0-6", "1-2", "2-0"]
    (folder / "positions.npy").write_bytes(b"half")  # what an ended start left behind the chunks is not whole
    built(run, tmp_path / "stopped", monkeypatch, store=store)
    n_chunks = len(chunks.planned(run.corpus, IndexConfig(), 2))
    assert sorted(n_written) == sorted([*range(n_chunks), *again])
    assert contents(tmp_path / "stopped") == contents(whole.path)


@pytest.mark.parametrize("store", FILES)
def test_shares_of_several_processes_are_the_index_of_one(run, tmp_path, monkeypatch, store):
    """Of which the first writes what all of them read; here one after the other, on one thread."""
    whole = built(run, tmp_path / "whole", monkeypatch, store=store)
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(FILES[store], "write", lambda *_: (_ for _ in ()).throw(Stopped))
        built(run, tmp_path / "shared", monkeypatch, store=store)  # begins the stage, and writes nothing
    for place in (2, 1):
        with pytest.raises(Exception, match="shared"):  # it waits for nobody, and nobody has finished
            built(run, tmp_path / "shared", monkeypatch, Share(place, 3), store=store)
    assert contents(built(run, tmp_path / "shared", monkeypatch, store=store).path) == contents(whole.path)


def test_an_index_without_a_store_counts_all_and_samples_places(run, tmp_path, monkeypatch):
    whole = built(run, tmp_path / "whole", monkeypatch)
    index = built(run, tmp_path / "sampled", monkeypatch, store=False)
    assert index.sampled and not whole.sampled and index.n_tokens == whole.n_tokens
    for name, column in whole.table.items():
        np.testing.assert_allclose(index.table[name], column, rtol=1e-12, err_msg=name)
    n_ctx, train = run.corpus.n_ctx, run.corpus.row_ranges["train"].stop * run.corpus.n_ctx
    n_ranges = 0
    for latent in range(index.d_sae):
        found, expected = index.record(latent), whole.record(latent)
        same = ("statistics", "log_histogram", "top", "random", "logits_top", "neighbours", "density")
        for name in same[1:]:
            assert getattr(found, name) == getattr(expected, name), name
        positions, values = whole.column(latent)
        for low, high, n in _ranges(found):
            n_ranges += 1
            assert n == ((np.abs(values) > low) & (np.abs(values) <= high)).sum()
        at = dict(zip(positions.tolist(), values.tolist(), strict=True))
        for interval in found.intervals:
            inside = [p for p, v in at.items() if p < train and interval.low < abs(v) <= interval.high]
            assert interval.n == len(inside) and {e.position for e in interval.examples} <= {*inside}
            assert len(interval.examples) == min(5, len({p // n_ctx for p in inside}))
        # What is kept of a row is all of it, so that text around an example is not shown as silent.
        kept = dict(zip(*(part.tolist() for part in index.column(latent)), strict=True))
        rows = {position // n_ctx for position in kept}
        assert kept == {p: v for p, v in at.items() if p // n_ctx in rows}
        assert sum(t.n for t in found.tokens) <= 100
    assert n_ranges > index.d_sae and "counted.npy" not in index.manifest.files
    assert {e.position for e in index.examples(0, "train", 9, seed=3)} <= {e.position for e in index.record(0).random}
    for refused in (
        lambda: index.counted,
        lambda: index.active_by_position,
        lambda: index.silent(0, "test", 2, 0),
        lambda: index.examples(0, "test", 2, 1),
    ):
        with pytest.raises(UserError, match="without --no-store"):
            refused()


def _ranges(record):
    """The bins of a record's histogram: where each begins and ends, and its count."""
    if record.histogram is None:
        return []
    edges = record.histogram.edges
    return list(zip(edges, edges[1:], record.histogram.counts, strict=False))


def torchrun(workspace, *options, **how):
    """`sparselex index` in two processes."""
    start = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
    command = [sys.executable, *start, "-m", "sparselex", "index", str(workspace), "--run-name", "main", *options]
    how |= {"env": os.environ | {"OMP_NUM_THREADS": "1"}, "text": True, "stdout": -1, "stderr": -1}
    return subprocess.Popen(command, **how)


def test_what_needs_every_activation_refuses_a_sample_and_the_page_says_so(run):
    run.do("index", store=False)
    for verb in ("explain", "evaluate", "effects"):
        with pytest.raises(UserError, match="without --no-store"):
            run.do(verb)
    client = TestClient(create_app(run.workspace), base_url="http://127.0.0.1")
    latent = int(run.index.table["n_active"].argmax())
    page = client.get(f"/runs/main/features/{latent}?token=return").text
    assert 'id="sampled"' in page and "--no-store" in page
    assert client.get(f"/runs/main/features/{latent}.json").json()["sampled"]
    assert "a sample of activations kept" in Index().line(run, run.manifest("index"))
    assert client.get("/runs/main/features?q=is:single-token").status_code == 200
    run.do("index", replace=True, store=True)
    assert 'id="sampled"' not in client.get(f"/runs/main/features/{latent}").text


@pytest.mark.slow
def test_the_command_line_under_torchrun(tmp_path):
    """Two processes give the bytes of one, tell of it once, and a refusal once; one that is killed ends the other."""
    made = small_run(tmp_path, {"expansion": 0.1, "k": 4, "n_tokens": 4_000})
    made.do("train")
    torch.set_num_threads(1)
    expected = contents(made.do("index").path)
    (index := made.folder / "index").rename(tmp_path / "kept")
    process = torchrun(made.workspace.path)
    out, said = process.communicate()
    assert process.returncode == 0, said
    assert out.count(" features over ") == 1 and contents(index) == expected
    (made.folder / "dictionary" / "manifest.json").rename(tmp_path / "manifest.json")
    out, said = torchrun(made.workspace.path, "--replace", "--n-bins", "7").communicate()
    assert said.count("to do:") == 1 and not out


def test_a_process_whose_partner_has_ended_says_so(tmp_path):
    """Killed, as the system does it when memory runs out."""
    code = (
        "import os, signal, sys\n"
        "from sparselex.dictionaries.ranks import Ranks\n"
        "from sparselex.cli.main import main, _end, _speaks\n"
        "from sparselex.base.errors import UserError\n"
        "with Ranks.connected() as ranks:\n"
        "    ranks.wait()\n"
        "    if not ranks.is_main: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    try: ranks.wait()\n"
        "    except UserError as error:\n"
        "        print(_speaks(error), error, flush=True)\n"
        "        os._exit(2)\n"
    )
    port = str(free_port())
    together = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env=os.environ | {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=120)[0] for process in together]
    assert [process.returncode for process in together] == [2, -signal.SIGKILL]
    assert said[0].startswith("True Another of the 2 processes has ended.") and not said[1]
