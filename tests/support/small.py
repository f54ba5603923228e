"""A small real run: the embedded model, a few modules of text, a dictionary trained for seconds."""

from pathlib import Path

from sparselex.base.workspace import Workspace
from sparselex.recipes.pipeline import Pipeline
from sparselex.recipes.run import RunConfig, TrainingChoice, new_run

MARKUP = '<script>alert("x")</script> &amp; "><img src=x onerror=alert(1)> <b>bold</b> 🤷🏽‍♀️ é\n'


def write_documents(folder: Path, n: int = 40) -> Path:
    """`n` short documents, some full of markup and emoji, so that they show up in examples."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(n):
        body = "".join(f"def function_{number}_{i}(self, value):\n    return value + {i}\n\n" for i in range(12))
        (folder / f"doc-{number:03d}.py").write_text((MARKUP * 6 if number % 4 == 0 else "") + f"# {number}\n" + body)
    return folder


def small_config(text: Path, **options) -> RunConfig:
    """A run that takes seconds."""
    config = new_run("embedded", str(text), n_ctx=64, **options)
    return config.model_copy(update={"training": TrainingChoice(expansion=0.5, k=8, n_tokens=60_000)})


def build_all(workspace: Workspace, config: RunConfig, run: str = "main") -> Pipeline:
    """Every stage of one run."""
    pipeline = Pipeline(workspace, run, config)
    for stage in (pipeline.train, pipeline.index, pipeline.explain, pipeline.evaluate):
        stage()
    return pipeline
