"""An index that was stopped, or that several processes built, equals one of a single undisturbed process byte for
byte."""

import os
import signal
import subprocess
import sys

import pytest
import torch

from sparselex.dictionaries.ranks import Ranks
from sparselex.features import chunks
from sparselex.features.build import build_index
from sparselex.features.chunks import ChunkFiles
from sparselex.features.config import IndexConfig
from tests.support.contents import contents
from tests.support.small import small_run
from tests.training.test_together import free_port


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained run."""
    made = small_run(tmp_path_factory.mktemp("resumed"), {"expansion": 0.1, "k": 4, "n_tokens": 4_000})
    made.do("train")
    return made


def built(run, to, monkeypatch, ranks=None):
    """Its index in chunks of four rows."""
    monkeypatch.setattr(chunks, "FEWEST_TOKENS", 4 * run.corpus.n_ctx)
    config, more = IndexConfig(batch_rows=2), {} if ranks is None else {"ranks": ranks}
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


def test_stopped_after_any_chunk_it_goes_on_after_it(run, tmp_path, monkeypatch):
    whole = built(run, tmp_path / "whole", monkeypatch)
    write, n_written = ChunkFiles.write, []

    def counted(self, chunk, read):
        if len(n_written) in stops:
            stops.remove(len(n_written))
            raise Stopped
        n_written.append(chunk.number)
        write(self, chunk, read)

    stops = {0, 3, 7}
    monkeypatch.setattr(ChunkFiles, "write", counted)
    for _ in (0, 3, 7):
        with pytest.raises(Stopped):
            built(run, tmp_path / "stopped", monkeypatch)
    # A chunk cut short by the system is no chunk; what an ended start left behind the chunks is not taken for whole.
    folder = tmp_path / ".stopped.partial"
    half = folder / ".chunks" / "000002"
    half.write_bytes(half.read_bytes()[:-1])
    (folder / "positions.npy").write_bytes(b"half")
    built(run, tmp_path / "stopped", monkeypatch)
    n_chunks = len(chunks.planned(run.corpus, IndexConfig(), 2))
    assert sorted(n_written) == sorted([*range(n_chunks), 2])
    assert contents(tmp_path / "stopped") == contents(whole.path)


def test_shares_of_several_processes_are_the_index_of_one(run, tmp_path, monkeypatch):
    """Of which the first writes what all of them read; here one after the other, on one thread."""
    whole, folder = built(run, tmp_path / "whole", monkeypatch), tmp_path / ".shared.partial" / ".chunks"
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(ChunkFiles, "write", lambda *_: (_ for _ in ()).throw(Stopped))
        built(run, tmp_path / "shared", monkeypatch)  # begins the stage, and writes nothing
    for place in (2, 1):
        with pytest.raises(Exception, match="shared"):  # it waits for nobody, and nobody has finished
            built(run, tmp_path / "shared", monkeypatch, Share(place, 3))
    there = sorted(int(path.name) for path in folder.glob("0*"))
    assert there == [number for number in range(len(there) * 3 // 2 + 1) if number % 3][: len(there)]
    assert contents(built(run, tmp_path / "shared", monkeypatch).path) == contents(whole.path)


def torchrun(workspace, *options, **how):
    """`sparselex index` in two processes."""
    start = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
    command = [sys.executable, *start, "-m", "sparselex", "index", str(workspace), "--run-name", "main", *options]
    how |= {"env": os.environ | {"OMP_NUM_THREADS": "1"}, "text": True, "stdout": -1, "stderr": -1}
    return subprocess.Popen(command, **how)


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
