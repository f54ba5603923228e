"""Several processes that train one dictionary: two equal one, and any number goes on where another stopped."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.multiprocessing

from sparselex.dictionaries.files import load_dictionary
from sparselex.training.train import train
from tests.support.together import KINDS, STOPS_AT, WHOLE_ONLY, Stopping, config, run_together, source


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """What two processes made, dividing the data and dividing the latents; and what one made of the same."""
    folder = tmp_path_factory.mktemp("together")
    for name in ("data", "latents"):
        with pytest.raises(KeyboardInterrupt):
            train(source(Stopping), config("jumprelu"), folder / "from one" / name, inputs={})
    torch.multiprocessing.spawn(run_together, (2, free_port(), str(folder)), nprocs=2)
    for kind in KINDS:
        train(source(), config(kind), folder / "alone" / kind, inputs={}, validation=source().draw(9000))
    return folder


def lines(folder: Path, key: str) -> list[dict]:
    found = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line for line in found if key in line]


CASES = [(kind, way) for way in ("data", "latents") for kind in KINDS if way == "data" or kind not in WHOLE_ONLY]


@pytest.mark.parametrize(("kind", "way"), CASES)
def test_two_equal_one(root, kind, way):
    """Sums in another order are rounded otherwise, and Adam divides small differences by small numbers: equal to a few thousandths."""
    alone, together = (load_dictionary(root / name / kind).state_dict() for name in ("alone", way))
    for name, value in alone.items():
        assert (together[name] - value).norm() <= 5e-3 * value.norm() + 1e-6, name
    for expected, found in zip(lines(root / "alone" / kind, "loss"), lines(root / way / kind, "loss"), strict=True):
        for key in ("loss", "l0", "fvu", "dead_share"):
            assert found[key] == pytest.approx(expected[key], rel=5e-3, abs=2e-3), (key, found["step"])
    if way == "latents":
        expected, found = (lines(root / name / kind, "validation_fvu")[-1] for name in ("alone", way))
        assert found["validation_fvu"] == pytest.approx(expected["validation_fvu"], rel=1e-2)
        assert found["validation_l0"] == pytest.approx(expected["validation_l0"], rel=2e-2)


def test_dead_latents_are_revived_together(root):
    """The comparison above means something for AuxK only where some latents were dead."""
    assert any(
        line["dead_share"] > 0 for kind in ("topk", "batchtopk") for line in lines(root / "alone" / kind, "loss")
    )


@pytest.mark.parametrize("way", ["data", "latents"])
def test_one_goes_on_where_two_stopped_and_two_where_one_stopped(root, way):
    folder = root / "stopped"
    assert (folder / f".{way}.partial" / "checkpoint" / "progress.json").exists() and not (folder / way).exists()
    finished = train(source(), config("jumprelu"), folder / way, inputs={}).state_dict()
    taken_up = load_dictionary(root / "from one" / way).state_dict()
    for name, value in load_dictionary(root / "alone" / "jumprelu").state_dict().items():
        assert (finished[name] - value).norm() <= 5e-3 * value.norm() + 1e-6
        assert (taken_up[name] - value).norm() <= 5e-3 * value.norm() + 1e-6
    steps = [line["step"] for line in lines(folder / way, "loss")]
    assert steps == list(range(1, 21)) and STOPS_AT < 20


def test_what_is_kept_together_is_what_one_would_keep(root):
    """Exactly: the n-th largest by counting digits, and among equals the first ones."""
    parts = [torch.load(root / f"selection-{rank}.pt") for rank in range(2)]
    generator = torch.Generator().manual_seed(3)
    numbers = {
        "float32": torch.rand(1000, generator=generator),
        "float64": torch.rand(1000, generator=generator, dtype=torch.float64),
        "equal": torch.randint(0, 9, (1000,), generator=generator).float(),
    }
    for name, values in numbers.items():
        for n in (1, 17, 500, 999, 1000):
            expected = values.sort(descending=True).values[:n]
            kept = torch.cat([part[f"{name} {n}"] for part in parts])
            assert torch.equal(kept.sort(descending=True).values, expected)
            assert all(torch.equal(part[f"{name} {n} cut"], expected[-1]) for part in parts)
    first = [len(part["equal 17"]) for part in parts]
    assert first[0] == min(17, int((numbers["equal"][:600] == 8).sum()))


def test_what_cannot_be_divided_is_refused(root):
    matryoshka, frozen, odd = (root / "refused.txt").read_text().split("\n---\n")
    assert "cannot be divided among processes" in matryoshka and "Frozen parts and resampling" in frozen
    assert "193 latents cannot be divided evenly" in odd


def test_the_command_line_under_torchrun(tmp_path):
    """A live run whose model is read by both processes, each its share of every block, equals the run of one."""
    from sparselex.base.workspace import Workspace
    from sparselex.recipes.pipeline import Pipeline
    from tests.support.small import small_config, write_documents

    text = write_documents(tmp_path / "text")
    for name in ("one", "two"):
        pipeline = Pipeline(Workspace.create(tmp_path / name), "main", small_config(text))
        assert pipeline.corpus.n_rows
        pipeline.keep()
    arguments = ["train", "--expansion", "0.5", "--k", "8", "--tokens", "20000", "--selection", "float32"]
    command = {"one": ["-m", "sparselex"], "two": ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port",
                                                   str(free_port()), "-m", "sparselex"]}  # fmt: skip
    for name, start in command.items():
        done = subprocess.run([sys.executable, *start, *arguments[:1], str(tmp_path / name), *arguments[1:]], capture_output=True,
                              text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("latents, in") == 1
    one, two = (
        load_dictionary(tmp_path / name / "runs" / "main" / "dictionary").state_dict() for name in ("one", "two")
    )
    for name, value in one.items():
        assert (two[name] - value).norm() <= 5e-3 * value.norm() + 1e-6, name
