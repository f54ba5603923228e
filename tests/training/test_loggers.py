"""TensorBoard and Weights & Biases: what they wrote is read back; they change nothing, and a killed training leaves no
step twice."""

import builtins
import json
import os
import struct
from importlib.util import find_spec
from itertools import pairwise
from typing import ClassVar

import pytest

from sparselex.activations.synthetic import MixtureConfig, SparseMixture
from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.recipes.run import Run
from sparselex.recipes.stages.train import Train
from sparselex.training import loggers
from sparselex.training.config import TrainConfig
from sparselex.training.log import TrainingLog
from sparselex.training.loggers import TensorBoardLog, WandbLog, logs
from sparselex.training.train import train
from tests.support.contents import contents
from tests.support.small import TRAINING, small_config, write_documents

CONFIG = TrainConfig.parse(
    {
        "dictionary": {"kind": "topk", "d_in": 16, "d_sae": 32, "k": 2},
        "n_tokens": 6_000,
        "batch_size": 200,
        "checkpoint_tokens": 1_000,
        "log_steps": 2,
    }
)


def source():
    return SparseMixture(MixtureConfig(d_in=16, n_features=32, l0=2), batch_size=200)


class Dying(SparseMixture):
    """Fails at one batch, as a killed process would; what was sent before is not closed."""

    def next_batch(self):
        if self._batch == 18:
            raise RuntimeError("killed")
        return super().next_batch()


def train_killed_once(folder, first, second):
    """Train, die at step 18 (the last checkpoint is at 15), train to the end; returns the lines that the second start
    logged."""
    lines = []
    with pytest.raises(RuntimeError, match="killed"):
        train(Dying(source().config, batch_size=200), CONFIG, folder / "d", inputs={}, observers=[first])
    train(source(), CONFIG, folder / "d", inputs={}, observers=[second, lines.append])
    second.close()
    return lines


def kept_lines(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def scalars(folder):
    """`{name: [(step, value), ...]}` as TensorBoard reads the folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return {name: [(event.step, event.value) for event in found.Scalars(name)] for name in found.Tags()["scalars"]}


def test_tensorboard_shows_the_log(tmp_path):
    pytest.importorskip("tensorboard")
    with logs(["tensorboard", "tensorboard"], tmp_path / "logs", "name", {}) as observers:
        assert len(observers) == 1 and not (tmp_path / "logs").exists()
        train(source(), CONFIG, tmp_path / "d", inputs={}, observers=observers)
    found, lines = scalars(tmp_path / "logs" / "tensorboard"), kept_lines(tmp_path / "d")
    assert set(found) == set(lines[0]) - {"step"} and len(lines) == 15
    for name, points in found.items():
        assert [step for step, _ in points] == [line["step"] for line in lines]
        assert [value for _, value in points] == pytest.approx([line[name] for line in lines], rel=1e-6)


def test_tensorboard_shows_each_step_once_after_a_kill(tmp_path):
    pytest.importorskip("tensorboard")
    first = TensorBoardLog(tmp_path / "tb")  # never closed before the second start
    lines = train_killed_once(tmp_path, first, TensorBoardLog(tmp_path / "tb"))
    assert lines[0]["step"] == 17
    whole = [(line["step"], pytest.approx(line["loss"], rel=1e-6)) for line in kept_lines(tmp_path / "d")]
    assert scalars(tmp_path / "tb")["loss"] == whole
    first.close()
    # Another training in the same folder leaves nothing of this one.
    other = TensorBoardLog(tmp_path / "tb")
    other({"step": 1, "loss": 7.0})
    other.close()
    assert {name: points for name, points in scalars(tmp_path / "tb").items() if points} == {"loss": [(1, 7.0)]}


def histories(folder):
    """For each start, in order: what was logged at each step, read from wandb's own files (LevelDB's log format around
    Protobuf)."""
    import wandb
    from wandb.proto import wandb_internal_pb2

    wandb.teardown()  # a run's end does not wait for wandb's own process to have written the file: its end does
    found = []
    for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        data, place, whole, steps = path.read_bytes(), 7, b"", {}
        while place + 7 <= len(data):
            left = 32768 - place % 32768
            _, n, kind = struct.unpack("<IHB", data[place : place + 7]) if left >= 7 else (0, 0, 0)
            if not kind:  # the rest of a block that no header fits into
                place += left
                continue
            whole += data[place + 7 : place + 7 + n]
            place += 7 + n
            if kind in (1, 4):
                record, whole = wandb_internal_pb2.Record.FromString(whole), b""
                if record.HasField("history"):
                    items = {item.nested_key[0]: float(item.value_json) for item in record.history.item}
                    steps[record.history.step.num] = {k: v for k, v in items.items() if not k.startswith("_")}
        found.append((path, steps))
    return found


def test_wandb_writes_a_run_without_network_or_account(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    for name in ("WANDB_API_KEY", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_SILENT", "true")

    def new_log(name):
        return WandbLog("p", "n", {"k": 2}, folder=tmp_path / name, mode="offline")

    class Continued(WandbLog):
        """Starts where the first start's id lies, in a folder of its own: two starts in one second would get one
        name."""

        def __call__(self, line):
            if not self.folder.exists():
                first.close()
                self.folder.mkdir()
                (self.folder / "wandb-run.txt").write_text((tmp_path / "first" / "wandb-run.txt").read_text())
            super().__call__(line)

    first, second = new_log("first"), Continued("p", "n", {"k": 2}, folder=tmp_path / "second", mode="offline")
    lines = train_killed_once(tmp_path, first, second)
    ((before, early),), ((after, late),) = histories(tmp_path / "first"), histories(tmp_path / "second")
    # One run in two folders: the second goes on where the checkpoint stood.
    assert before.stem == after.stem and set(late) == {line["step"] for line in lines}
    assert min(late) == 17 == max(early) and early[17] == late[17], (
        "the step that was taken again gave the same numbers"
    )
    numbers = {line["step"]: {k: v for k, v in line.items() if k != "step"} for line in kept_lines(tmp_path / "d")}
    assert early | late == {step: pytest.approx(line, rel=1e-6) for step, line in numbers.items()}
    # A training from its first step is another run.
    (tmp_path / "third").mkdir()
    (tmp_path / "third" / "wandb-run.txt").write_text((tmp_path / "first" / "wandb-run.txt").read_text())
    new = new_log("third")
    new({"step": 1, "loss": 7.0})
    new.close()
    (other, steps) = histories(tmp_path / "third")[0]
    assert steps == {1: {"loss": 7.0}} and other.stem != before.stem


def test_two_wandb_logs_of_one_process_are_two_runs(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    both = [WandbLog("p", name, {}, folder=tmp_path / name, mode="offline") for name in "ab"]
    for number, log in enumerate(both):
        log({"step": 1, "loss": float(number)})
    for log in both:
        log.close()
    assert [histories(tmp_path / name)[0][1] for name in "ab"] == [{1: {"loss": 0.0}}, {1: {"loss": 1.0}}]


@pytest.mark.parametrize("kind", ["tensorboard", "wandb"])
def test_a_missing_package_is_named_with_its_extra(kind, tmp_path, monkeypatch):
    """The import fails as it does where the package is not installed."""
    real = builtins.__import__

    def absent(name, *arguments, **options):
        if name.split(".")[0] == kind or name == f"torch.utils.{kind}":
            raise ModuleNotFoundError(f"No module named {kind!r}")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(UserError, match=rf"sparselex\[{kind}\]"), logs([kind], tmp_path / "logs", "n", {}):
        pass
    assert not (tmp_path / "logs").exists()


class Unclosable:
    """Stands for a log whose upload fails; tells whether it was asked to close."""

    closed: ClassVar[list[str]] = []

    def __init__(self, *given, **options):
        self.name = type(self).__name__

    def __call__(self, line):
        """Nothing is sent."""

    def close(self):
        """Fails."""
        Unclosable.closed.append(self.name)
        raise OSError(f"{self.name} lost its network")


@pytest.mark.parametrize("fails", [True, False])
def test_a_log_that_cannot_be_closed_neither_hides_an_error_nor_leaves_others_open(fails, tmp_path, monkeypatch):
    names = ("TensorBoardLog", "WandbLog")
    for name in names:
        monkeypatch.setattr(loggers, name, type(name, (Unclosable,), {}))
    monkeypatch.setattr(Unclosable, "closed", [])
    expected = pytest.raises(ValueError, match="diverged") if fails else pytest.raises(OSError, match="WandbLog lost")
    with expected as caught, logs(["tensorboard", "wandb"], tmp_path, "n", {}):
        if fails:
            raise ValueError("training diverged")
    assert sorted(Unclosable.closed) == sorted(names)
    told = ["The log for wandb could not be closed: WandbLog lost its network"] if fails else []
    told.append("The log for tensorboard could not be closed: TensorBoardLog lost its network")
    assert caught.value.__notes__ == told


def test_a_log_cut_while_the_process_is_killed_keeps_its_lines(tmp_path, monkeypatch):
    log = TrainingLog(tmp_path)
    log.begin()
    for step in (1, 3, 5):
        log.write({"step": step})

    def killed(*paths):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            log.cut(3)
    assert kept_lines(tmp_path) == [{"step": 1}, {"step": 3}, {"step": 5}]
    log.cut(3)
    assert kept_lines(tmp_path) == [{"step": 1}, {"step": 3}] and len(list(tmp_path.iterdir())) == 1


def test_the_choice_of_a_log_changes_no_byte(tmp_path, monkeypatch):
    """Two runs of a run, one watched by whatever is installed, and by a plain observer in any case."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    workspace = Workspace.create(tmp_path / "w")
    config = small_config(write_documents(tmp_path / "text"), TRAINING | {"n_tokens": 6_000})
    kinds = [kind for kind in ("tensorboard", "wandb") if is_installed(kind)]
    plain, watched, lines = Run(workspace, "plain", config), Run(workspace, "watched", config), []
    plain.do("train")
    watched.do(Train(**config.stages["train"], log_to=kinds), more={"observers": [lines.append]})
    assert all(a["step"] <= b["step"] for a, b in pairwise(lines)) and {line["step"] for line in lines} >= {1}
    assert contents(plain.folder / "dictionary") == contents(watched.folder / "dictionary")
    assert workspace.settings("plain") == workspace.settings("watched")
    assert {path.name for path in (watched.folder / "logs").glob("*/")} == set(kinds)


def is_installed(package):
    return find_spec(package) is not None
