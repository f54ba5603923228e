"""Put dictionaries to a task."""

from pathlib import Path

from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.evaluate.supervised.config import TaskConfig
from sparselex.evaluate.supervised.records import TaskResult
from sparselex.evaluate.supervised.walk import put_to_task
from sparselex.lm.load import load_model
from sparselex.lm.subject import SubjectModel
from sparselex.recipes.task_lm import TaskModelConfig, train_task_model
from sparselex.recipes.tasks import TOY, TaskOptions
from sparselex.tasks.registry import TASKS


def put(workspace: Workspace, options: TaskOptions, to: Path) -> TaskResult:
    """Load the model, making the task's own where that is meant, and put dictionaries to the task."""
    model = _model(workspace, options)
    task = TASKS.get(options.task)(model.tokenizer)
    return put_to_task(model, task, options.part(TaskConfig), to)


def _model(workspace: Workspace, options: TaskOptions) -> SubjectModel:
    if options.model != TOY:
        return load_model(options.of_model())
    if options.task != "ioi":
        raise UserError(
            f"The task {options.task!r} has no small transformer of its own.",
            "a model that does it",
            "name one with --model, such as smollm2.",
        )
    folder = train_task_model(TaskModelConfig(), workspace.path / "tasks" / "toy-model")
    return load_model(options.of_model().model_copy(update={"name": str(folder)}))
