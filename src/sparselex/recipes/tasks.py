"""Dictionaries put to a labelled task, in a workspace. PyTorch is loaded only if there is something to be done."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import field_validator

from sparselex.base.artifacts import MANIFEST, open_artifact
from sparselex.base.bounds import Once
from sparselex.base.errors import UserError
from sparselex.base.files import checksum, read_json, write_json
from sparselex.base.known import Among
from sparselex.base.registry import found
from sparselex.base.runs import RunName
from sparselex.base.workspace import Workspace
from sparselex.evaluate.occlusion.records import SWEEPS
from sparselex.evaluate.supervised.config import TaskConfig
from sparselex.evaluate.supervised.records import SUMMARY, TaskResult
from sparselex.lm.config import ModelConfig, ModelDtype, Twin
from sparselex.recipes.folder import RunFolder
from sparselex.recipes.option import Option
from sparselex.recipes.stamps import model_stamp
from sparselex.tasks.registry import TASKS, is_task_file, settled_task
from sparselex.text.identity import text_id

TOY = "toy"
"""The model that is meant where none is named: a small transformer that is trained here, on prompts of the task."""

TOY_MODEL = "toy-model"
"""Folder of that model, beside those of results."""

OPTIONS = "options.json"
_IN_PASSING = ("device", "name", "trust_remote_code")
"""Options that change nothing of what comes out."""

_WORK = "sparselex.recipes.work.tasks:put"


class TaskOptions(TaskConfig):
    """Put dictionaries to a labelled task: find where a model does it, compute the dictionary that its labels give, and
    hold trained ones, and what nothing trained, against it in approximation, control and interpretability."""

    task: Annotated[str, Among(TASKS)] = "ioi"
    """The task: a name, or a file of your own, JSON lines with a prompt each. Of a file as many prompts are taken as it
    has, at most."""

    model: str = TOY
    """`toy`, a small transformer that is trained here at first use, `embedded`, `smollm2` (a package of its own), or
    any Hugging Face causal language model: a name, a local folder or a GGUF file."""

    twin: Twin = "none"
    """A random-weight twin instead of the trained model."""

    device: Annotated[str, Option(in_passing=True)] = "cpu"
    """Where the model is loaded: cpu, cuda, cuda:1."""

    model_dtype: ModelDtype = "float32"
    """Precision in which it is loaded: float32, bfloat16, float16, or auto for its files' own."""

    trust_remote_code: Annotated[bool, Option(in_passing=True)] = False
    """Run model code that comes with the weights. Only if you trust it."""

    general_text: str = "stdlib"
    """Text of all kinds, on which dictionaries are trained as well: like `--text` of a run. The small transformer that
    is trained here takes what it was trained on."""

    runs: Annotated[tuple[RunName, ...], Once, Option("--runs")] = ()
    """Runs of the workspace whose dictionaries are tested too, imported ones as well: autoencoders of one site of this
    model, each at its site at the last token."""

    occlusion: bool = False
    """Take the strongest attribute of each place out by degrees as well, and count whose values dictionaries find that
    are trained on the rest."""

    name: Annotated[str, Option("--as")] = ""
    """What it is called in the workspace; left out, the task and the model."""

    @field_validator("general_text")
    @classmethod
    def _is_named(cls, given: str) -> str:
        if not given.strip():
            raise ValueError("a text has a name: stdlib, a folder, a file or a dataset")
        return given

    @field_validator("task")
    @classmethod
    def _found_from_anywhere(cls, given: str) -> str:
        return settled_task(given)

    @property
    def called(self) -> str:
        """Its name in the workspace."""
        task = Path(self.task).stem if is_task_file(self.task) else self.task
        return self.name or _word(f"{task}-{self.model.rstrip('/').rpartition('/')[2]}")

    def of_model(self) -> ModelConfig:
        """The model that is loaded, where it is none of a task's own."""
        return ModelConfig(
            name=self.model,
            twin=self.twin,
            device=self.device,
            dtype=self.model_dtype,
            trust_remote_code=self.trust_remote_code,
        )


def evaluate_task(workspace: Workspace, options: TaskOptions) -> TaskResult:
    """What came out of a task; work that is done is not done again, and goes on behind the last step that was finished.

    Raises `UserError` for a name that something else has, and like `evaluate.supervised.walk.put_to_task`.
    """
    to = workspace.path / "tasks" / options.called
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", options.called):
        raise UserError(
            f"{options.called!r} cannot be the name of a task's results.",
            "letters, digits, '.', '_' and '-', at most 64, starting with a letter or digit",
            "give another with --as.",
        )
    asked = options.to_json()
    kept = {name: value for name, value in asked.items() if name not in _IN_PASSING}
    kept["runs"] = {run: RunFolder.open(workspace, run).manifest("dictionary").id for run in options.runs}
    if options.model != TOY:
        kept["stamp"] = model_stamp(options.model)
        kept["text"] = text_id(options.general_text) if options.general else ""
    if is_task_file(options.task):
        kept["contents"] = _contents(Path(options.task))
    _check_name(to, kept)
    if (made := _made(to, options)) and read_json(to / OPTIONS) == kept | {"made": made}:
        return TaskResult.read(to / "summary")
    result: TaskResult = found(_WORK)(workspace, options, to)
    # A file that was changed while it was read is put to the model once more.
    if not is_task_file(options.task) or kept["contents"] == _contents(Path(options.task)):
        write_json(to / OPTIONS, kept | {"made": _made(to, options)})
    return result


def _made(to: Path, options: TaskOptions) -> list[str]:
    """The results that lie there, by their hashes; nothing where one of those that are asked for does not."""
    parts = {"summary": SUMMARY} | ({"occlusion/summary": SWEEPS} if options.occlusion else {})
    if not all((to / part / MANIFEST).is_file() for part in parts):
        return []
    return [open_artifact(to / part, kind).id for part, kind in parts.items()]


def _check_name(to: Path, kept: Mapping[str, Any]) -> None:
    """Raise `UserError` where what lies there is of another task or model, or is the small transformer itself."""
    found_there = read_json(to / OPTIONS)
    before: dict[str, Any] = found_there if isinstance(found_there, dict) else {}
    told = lambda values: tuple(values.get(name) for name in ("task", "model", "twin"))
    if (before and told(before) != told(kept)) or to.name == TOY_MODEL:
        there = "the small transformer" if to.name == TOY_MODEL else _named(before)
        raise UserError(
            f"{to} holds {there}, and {_named(kept)} was to be put there.",
            "a name of its own for each task and model",
            "give another with --as.",
        )


def _named(values: Mapping[str, Any]) -> str:
    """What a result is of, in words."""
    twin = values.get("twin", "none")
    model = values.get("model", "a model")
    return f"{values.get('task', 'a task')} by {model if twin == 'none' else f'the {twin} twin of {model}'}"


def _contents(file: Path) -> str:
    """Hash of what a task's file holds. Raises `UserError` where there is no such file."""
    try:
        return checksum(file)
    except OSError as error:
        raise UserError(
            f"The task's file {file} cannot be read: {error.strerror}.",
            f"a file of JSON lines, or one of the tasks {', '.join(TASKS.names())}",
            "check the path.",
        ) from None


def _word(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in name)[:64]
