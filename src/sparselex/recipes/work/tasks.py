"""Put dictionaries to a task."""

from pathlib import Path

from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.evaluate.occlusion.config import occlusion_config
from sparselex.evaluate.occlusion.occlude import occlude
from sparselex.evaluate.supervised.config import TaskConfig
from sparselex.evaluate.supervised.records import TaskResult
from sparselex.evaluate.supervised.rows import OfRun
from sparselex.evaluate.supervised.walk import put_to_task
from sparselex.lm.load import load_model
from sparselex.lm.subject import SubjectModel
from sparselex.recipes.run import Run
from sparselex.recipes.task_lm import TaskModelConfig, train_task_model
from sparselex.recipes.tasks import TOY, TOY_MODEL, TaskOptions
from sparselex.tasks.file_task import FileTask
from sparselex.tasks.making import make_task
from sparselex.tasks.records import Task


def put(workspace: Workspace, options: TaskOptions, to: Path) -> TaskResult:
    """Load the model, making the task's own where that is meant, and put dictionaries to the task."""
    model = _model(workspace, options)
    task = make_task(options.task, model.tokenizer)
    runs = [_of_run(Run.open(workspace, name), model) for name in options.runs]
    result = put_to_task(model, task, _config(options, task), to, runs=runs)
    if options.occlusion:
        occlude(model, task, occlusion_config(_config(options, task)), to)
    return result


def _config(options: TaskOptions, task: Task) -> TaskConfig:
    """What was asked for; of a file no more prompts than it has."""
    config = options.part(TaskConfig)
    if not isinstance(task, FileTask):
        return config
    n = task.n_prompts
    there = {"n_fit": min(config.n_fit, n["fit"]), "n_test": min(config.n_test, n["evaluate"])}
    return config.model_copy(update=there)


def _of_run(run: Run, model: SubjectModel) -> OfRun:
    """The dictionary of a run. Raises `UserError` unless it is an autoencoder of one site of this model."""
    hooks, own = run.sites.hooks, run.model
    if own.id != model.id or run.sites.target or len(hooks) != 1:
        what = f"reads {run.sites}" if own.id == model.id else f"is of {own.name}"
        raise UserError(
            f"Run {run.name!r} {what}.",
            f"an autoencoder of one site of {model.name}, the model that does the task",
            "name other runs, or the model that they are of by --model.",
        )
    return OfRun(run.name, hooks[0], run.dictionary, run.manifest("dictionary").id)


def _model(workspace: Workspace, options: TaskOptions) -> SubjectModel:
    if options.model != TOY:
        return load_model(options.of_model())
    if options.task != "ioi":
        raise UserError(
            f"The task {options.task!r} has no small transformer of its own.",
            "a model that does it",
            "name one with --model, such as smollm2.",
        )
    folder = train_task_model(TaskModelConfig(), workspace.path / "tasks" / TOY_MODEL)
    return load_model(options.of_model().model_copy(update={"name": str(folder)}))
