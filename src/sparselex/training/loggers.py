"""The log of training in other people's viewers: TensorBoard and Weights & Biases, each an observer of the log's lines.

They look on: what is trained, and its configuration, do not know of them. Training that was killed goes on from its
checkpoint and takes the steps after it again; each class says what becomes of the lines that were already sent.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

from sparselex.base.errors import UserError

PROJECT = "sparselex"
"""Project of Weights & Biases, unless the environment variable WANDB_PROJECT names another."""

_RUN_ID = "wandb-run.txt"


class Log(Protocol):
    """An observer of the log that holds something open."""

    def __call__(self, line: dict[str, Any]) -> None:
        """Send one line: `step` and numbers."""

    def close(self) -> None:
        """Write out what is waiting; without a line there is nothing to close."""


class TensorBoardLog:
    """Scalars in a folder that `tensorboard --logdir` shows. Needs the extra `tensorboard`.

    Every start of training is an event file of its own, which tells TensorBoard to forget what earlier files of the
    folder hold from its first step on (`purge_step`): steps taken again stand there once, and of another training in
    the same folder nothing is left. Lines are written out at once, so that a killed process has lost none from before
    its checkpoint.
    """

    def __init__(self, folder: Path | str):
        """Writes nothing until the first line. Raises `UserError` where the package is missing."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise _missing("tensorboard", error) from None
        self.folder, self._new = Path(folder), SummaryWriter
        self._writer: Any = None

    def __call__(self, line: dict[str, Any]) -> None:
        """Send one line: `step` and numbers."""
        if self._writer is None:
            self._writer = self._new(str(self.folder), purge_step=line["step"])
        for name, value in _numbers(line).items():
            self._writer.add_scalar(name, value, line["step"])
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()


class WandbLog:
    """A run of Weights & Biases. Needs the extra `wandb`; `mode="offline"` (or WANDB_MODE=offline) needs neither
    network nor account.

    A training from its first step is a new run, whose id is kept in `folder`; one that goes on from a checkpoint
    continues that run. Online, the run knows its last step and lines up to it are left out: training repeats its steps
    bit for bit, so nothing is lost. Offline every start writes a folder of its own under the same id, and steps taken
    again stand in two of them; `wandb sync` brings them together.
    """

    def __init__(
        self, project: str, name: str, config: Mapping[str, Any], *, folder: Path | str = ".", mode: str | None = None
    ):
        """Contacts nobody until the first line. Raises `UserError` where the package is missing.

        Args:
            project, name: where the run is shown, and as what.
            config: shown beside the run; JSON values.
            folder: where wandb keeps its files (`<folder>/wandb`) and we the run's id.
            mode: `online` or `offline`; None leaves it to the user's settings of wandb.
        """
        try:
            from wandb import Settings, init
            from wandb.errors import Error
        except ImportError as error:
            raise _missing("wandb", error) from None
        self.folder = Path(folder)
        # Standard output stays ours: captured, the progress bar would be a line of their console log for every redraw.
        self._settings, self._init, self._error = Settings(console="off"), init, Error
        self._options: dict[str, Any] = {"project": project, "name": name, "config": dict(config), "mode": mode}
        self._run: Any = None

    def __call__(self, line: dict[str, Any]) -> None:
        """Send one line: `step` and numbers. Raises `UserError` where wandb cannot begin: no account, no network."""
        if self._run is None:
            self._begin(is_new=line["step"] <= 1)
        if line["step"] > self._sent:
            self._run.log(_numbers(line), step=line["step"])

    def close(self) -> None:
        """End the run; online, waits until it is uploaded. Offline its file is whole at the latest when the process
        ends."""
        if self._run is not None:
            self._run.finish()

    def _begin(self, *, is_new: bool) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = self.folder / _RUN_ID
        known = kept.read_text(encoding="utf-8").strip() if kept.exists() and not is_new else None
        try:
            self._run = self._init(
                **self._options,
                dir=str(self.folder),
                id=known,
                resume="allow" if known else None,
                reinit="create_new",
                settings=self._settings,
            )
        except self._error as error:
            raise UserError(
                f"Weights & Biases cannot begin a run: {str(error).rstrip('.')}.",
                "an account and a network, or offline mode",
                "run `wandb login`, or set WANDB_MODE=offline and upload later with `wandb sync`.",
            ) from None
        # A resumed run stands at the step after its last; a new one at 0, and our first step is 1.
        self._sent = self._run.step - 1 if self._run.resumed else 0
        kept.write_text(self._run.id, encoding="utf-8")


@contextmanager
def logs(
    kinds: Sequence[Literal["tensorboard", "wandb"]], folder: Path, name: str, config: Mapping[str, Any]
) -> Iterator[list[Log]]:
    """Logs of the given kinds, each once, with their files in `folder`; all are closed at the end, whatever happens.

    Raises `UserError` for a missing package, before anything is made.
    """
    found: dict[str, Log] = {}
    for kind in kinds:
        match kind:
            case "tensorboard":
                found[kind] = TensorBoardLog(folder / kind)
            case "wandb":
                # Read here as well: wandb itself looks at the environment once in a process.
                project, mode = os.environ.get("WANDB_PROJECT") or PROJECT, os.environ.get("WANDB_MODE") or None
                found[kind] = WandbLog(project, name, config, folder=folder, mode=mode)
    with ExitStack() as stack:
        for place, log in found.items():
            stack.push(_closing(log.close, place))
        yield list(found.values())


def _closing(close: Callable[[], None], place: str) -> Callable[..., None]:
    """What closes a log at the end of a `with`: where it fails, an error of training is still the one that is told."""

    def at_the_end(_: object, error: BaseException | None, *__: object) -> None:
        try:
            close()
        except Exception as failure:
            if error is None:
                raise
            error.add_note(f"The log for {place} could not be closed: {failure}")

    return at_the_end


def _numbers(line: Mapping[str, Any]) -> dict[str, int | float]:
    """The numbers of a line but its step."""
    return {name: value for name, value in line.items() if name != "step" and isinstance(value, int | float)}


def _missing(package: str, error: ImportError) -> UserError:
    return UserError(
        f"The package {package} cannot be imported: {error}.",
        f"sparselex with the extra {package!r}",
        f"run `pip install 'sparselex[{package}]'`, or leave --log-to {package} out.",
    )
