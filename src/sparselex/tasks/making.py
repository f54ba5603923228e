"""A task by its name, or from a person's file."""

from pathlib import Path

from sparselex.tasks.file_task import read_task
from sparselex.tasks.records import Task
from sparselex.tasks.registry import TASKS, is_task_file
from sparselex.text.tokenizer import Tokenizer


def make_task(name: str, tokenizer: Tokenizer) -> Task:
    """The task of that name, or of that file, in tokens of a model. Raises `UserError` like its maker."""
    return read_task(Path(name), tokenizer) if is_task_file(name) else TASKS.get(name)(tokenizer)
