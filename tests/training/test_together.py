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

from sparselex.base.workspace import Workspace
from sparselex.dictionaries import ranks
from sparselex.dictionaries.files import load_dictionary
from sparselex.dictionaries.ranks import Ranks
from sparselex.dictionaries.trainable import new_dictionary
from sparselex.recipes.run import Run
from sparselex.training.checkpoint import part
from sparselex.training.train import train
from tests.support.small import small_config, write_documents
from tests.support.together import KINDS, STOPPED, STOPS_AT, Stopping, config, first_batch, run_together, source, ways


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """What two processes made, dividing the data and dividing the latents; and what one made of the same."""
    folder = tmp_path_factory.mktemp("together")
    for name in ("data", "latents"):
        for kind in STOPPED[name]:
            with pytest.raises(KeyboardInterrupt):
                train(source(Stopping), config(kind), folder / "from one" / name / kind, inputs={})
    torch.multiprocessing.spawn(run_together, (2, free_port(), str(folder)), nprocs=2)
    for kind in KINDS:
        train(source(), config(kind), folder / "alone" / kind, inputs={}, validation=source().draw(9000))
    return folder


def lines(folder: Path, key: str) -> list[dict]:
    found = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line for line in found if key in line]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "way"), [(kind, way) for kind in KINDS for way in ways(kind)])
def test_two_equal_one(root, kind, way):
    """Sums in another order are rounded otherwise, and Adam divides small differences by small numbers: equal to a few
    thousandths."""
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


@pytest.mark.slow
def test_dead_latents_are_revived_together(root):
    """The comparison above means something for AuxK and resampling only where some latents were dead."""
    for kind in ("resampled", "resampled transcoder", "matching pursuit"):
        at = round(config(kind).n_steps * config(kind).dictionary.resample_shares[0])
        assert lines(root / "alone" / kind, "loss")[at - 1]["dead_share"] > 0, kind
    assert any(
        line["dead_share"] > 0 for kind in ("topk", "batchtopk") for line in lines(root / "alone" / kind, "loss")
    )


@pytest.mark.slow
@pytest.mark.parametrize(("way", "kind"), [(way, kind) for way, kinds in STOPPED.items() for kind in kinds])
def test_one_goes_on_where_two_stopped_and_two_where_one_stopped(root, way, kind):
    folder = root / "stopped" / way
    assert (folder / f".{kind}.partial" / "checkpoint" / "progress.json").exists() and not (folder / kind).exists()
    finished = train(source(), config(kind), folder / kind, inputs={}).state_dict()
    taken_up = load_dictionary(root / "from one" / way / kind).state_dict()
    for name, value in load_dictionary(root / "alone" / kind).state_dict().items():
        assert (finished[name] - value).norm() <= 5e-3 * value.norm() + 1e-6
        assert (taken_up[name] - value).norm() <= 5e-3 * value.norm() + 1e-6
    steps = [line["step"] for line in lines(folder / kind, "loss")]
    assert steps == list(range(1, 21)) and STOPS_AT < 20


def one_of_two(rank: int) -> Ranks:
    """The place of one of two that share the latents, for what needs no word from the other."""
    ranks = Ranks()
    ranks.n_latents, ranks.latents = 2, rank
    return ranks


@pytest.mark.parametrize(("n", "width"), [(4_000, 3), (2_050, 5), (34, 1), (8, 1)])
def test_each_draws_its_rows_of_what_one_would_draw(n, width):
    """To the bit, and the generator then stands where it would."""
    expected, generators = torch.Generator().manual_seed(7), [torch.Generator().manual_seed(7) for _ in range(2)]
    parts = [one_of_two(rank).randn(n, width, generators[rank]) for rank in range(2)]
    assert torch.equal(torch.cat(parts), torch.randn(n, width, generator=expected))
    assert all(torch.equal(generator.get_state(), expected.get_state()) for generator in generators)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "latents" in ways(kind) and kind != "archetypal"])
def test_each_starts_with_its_part_of_what_one_would_start_with(kind):
    """To the bit. Archetypal rows ask the others for their mean length, see the comparison after training."""
    chosen = config(kind).dictionary
    alone = new_dictionary(chosen, torch.Generator().manual_seed(0))
    for rank in range(2):
        mine = new_dictionary(chosen, torch.Generator().manual_seed(0), one_of_two(rank))
        assert mine.d_sae == alone.d_sae / 2
        for name, value in alone.state_dict().items():
            assert torch.equal(mine.state_dict()[name], part(value, f"weights/{name}", mine)), name


@pytest.fixture
def connections(monkeypatch):
    """What training does with connections to other processes, without any: `opened`, `closed`, and what is done at the
    end of the process."""
    done, at_exit = [], []
    monkeypatch.setattr(Ranks, "_opened_here", False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(ranks, "init_device_mesh", lambda *given, **options: None)
    monkeypatch.setattr(ranks.dist, "is_initialized", lambda: done.count("opened") > done.count("closed"))
    monkeypatch.setattr(ranks.dist, "init_process_group", lambda *given, **options: done.append("opened"))
    monkeypatch.setattr(ranks.dist, "destroy_process_group", lambda: done.append("closed"))
    monkeypatch.setattr(ranks.atexit, "register", at_exit.append)
    monkeypatch.setattr(ranks.atexit, "unregister", lambda call: at_exit.remove(call) if call in at_exit else None)
    return done, at_exit


def test_connections_are_closed_when_a_process_that_trained_ends(connections):
    done, at_exit = connections
    for _ in range(2):
        with Ranks.connected():
            assert done == ["opened"] and not at_exit
    (close,) = at_exit
    close()
    assert done == ["opened", "closed"]


def test_connections_stay_after_an_error_and_where_others_opened_them(connections):
    done, at_exit = connections
    done.append("opened")  # by somebody else
    with Ranks.connected():
        pass
    assert done == ["opened"] and not at_exit
    done.clear()
    with pytest.raises(ValueError), Ranks.connected():
        raise ValueError
    assert done == ["opened"] and not at_exit


def test_blocks_of_latents_are_divided_one_by_one():
    numbers = torch.arange(12)
    assert one_of_two(1).part(numbers, 0, n_blocks=3).tolist() == [2, 3, 6, 7, 10, 11]
    assert one_of_two(0).part(numbers.view(2, 6), 1).tolist() == [[0, 1, 2], [6, 7, 8]]


@pytest.mark.slow
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
    loud = torch.randn(200, 32, generator=generator)
    loud[:120] *= 50
    for precision in ("float32", "bfloat16"):
        kept = torch.cat([part[f"first batch {precision}"] for part in parts]).sort().values
        torch.testing.assert_close(kept, first_batch(loud, precision, Ranks()).sort().values)
    first = [len(part["equal 17"]) for part in parts]
    assert first[0] == min(17, int((numbers["equal"][:600] == 8).sum()))


@pytest.mark.slow
def test_what_cannot_be_divided_is_refused(root):
    pursuit, layers, odd = (root / "refused.txt").read_text().split("\n---\n")
    assert "cannot be divided among processes" in pursuit and "95 latents of each layer cannot be divided" in layers
    assert "193 latents cannot be divided evenly" in odd


FINISH = ("--finish", "kl", "--finish-share", "0.5")
CHOSEN = ("--finish", "influence", "--finish-share", "0.5")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "divided"),
    [((), ()), (FINISH, ()), (FINISH, ("--divide-latents", "2")), (CHOSEN, ("--divide-latents", "2"))],
)
def test_the_command_line_under_torchrun(tmp_path, options, divided):
    """A live run whose model is read by both processes, each its share of every block, equals the run of one; in a
    finish each runs its rows, or both the same."""
    text = write_documents(tmp_path / "text")
    for name in ("one", "two"):
        run = Run.create(Workspace.create(tmp_path / name), "main", small_config(text))
        assert run.corpus.n_rows
        run.keep()
    arguments = ["--expansion", "0.5", "--k", "8", "--tokens", "20000", "--selection", "float32", *options]
    command = {
        "one": ["-m", "sparselex"],
        "two": [
            "-m",
            "torch.distributed.run",
            "--nproc-per-node",
            "2",
            "--master-port",
            str(free_port()),
            "-m",
            "sparselex",
        ],
    }
    for name, start in command.items():
        done = subprocess.run(
            [sys.executable, *start, "train", str(tmp_path / name), *arguments, *(divided if name == "two" else ())],
            capture_output=True,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("dictionary, 512 -> 256 latents") == 1
    one, two = (
        load_dictionary(tmp_path / name / "runs" / "main" / "dictionary").state_dict() for name in ("one", "two")
    )
    for name, value in one.items():
        assert (two[name] - value).norm() <= 5e-3 * value.norm() + 1e-6, name
