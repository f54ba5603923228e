"""The names of the tasks, and which names are files of a person's own. Nothing here loads PyTorch."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sparselex.base.errors import UserError
from sparselex.base.registry import Registry
from sparselex.tasks.records import Task
from sparselex.text.tokenizer import Tokenizer

TASKS: Registry[Callable[[Tokenizer], Task]] = Registry(
    "task",
    {
        "ioi": "sparselex.tasks.ioi:make_ioi",
        "agreement": "sparselex.tasks.agreement:make_agreement",
        "brackets": "sparselex.tasks.brackets:make_brackets",
    },
)
"""Makers of tasks by name, each a function of the model's tokenizer, which decides what words are one token. Other
packages add theirs through entry points of the group `sparselex.task`."""


def is_task_file(name: str) -> bool:
    """Whether a name is that of a file: it has an ending or a folder in it, and is none of a task."""
    return name not in TASKS.names() and bool(Path(name).suffix or len(Path(name).parts) > 1)


def settled_task(name: str) -> str:
    """The name of a task as it is; of a file its whole path, so that it is found from any folder. Raises `UserError`
    for what is neither."""
    if is_task_file(name):
        with suppress(RuntimeError):  # of a user who has no home here: the file is looked for as it is written
            return str(Path(name).expanduser().absolute())
        return str(Path(name).absolute())
    if name not in TASKS.names():
        unknown = TASKS.unknown(name)
        raise UserError(unknown.given, f"{unknown.expected}, or a file such as mine.jsonl", unknown.todo)
    return name
