"""Small corpora and runs over the standard library for benchmarks."""

import tempfile
from pathlib import Path

from sparselex.base.workspace import MAIN, Workspace
from sparselex.evaluate.report import write_report
from sparselex.lm.subject import SubjectModel
from sparselex.recipes.config import new_run
from sparselex.recipes.run import Run
from sparselex.text.build import build_corpus
from sparselex.text.config import CorpusConfig
from sparselex.text.corpus import TokenCorpus
from sparselex.text.sources import load_documents


def small_corpus(model: SubjectModel, n_tokens: int) -> TokenCorpus:
    """Rows of 128 tokens, in a folder of the system's temporary space."""
    config = CorpusConfig(source="stdlib", n_ctx=128, n_tokens=n_tokens)
    folder = Path(tempfile.mkdtemp(prefix="sparselex-benchmark-"))
    return build_corpus(load_documents("stdlib"), model.tokenizer, config, folder / "corpus")


def small_run(workspace: Path | None, folder: Path, quick: bool) -> Run:
    """The main run of the workspace that was named, or a finished one of 4,096 latents (quick: 512) made under
    `folder`."""
    if workspace is not None:
        return Run.open(Workspace(workspace), MAIN)
    config = new_run("embedded", "stdlib", n_tokens=60_000 if quick else 400_000)
    run = Run.create(Workspace.create(folder / "workspace"), MAIN, config)
    run.do("train", expansion=1 if quick else 8)
    for verb in ("index", "explain", "evaluate"):
        run.do(verb)
    write_report(run.workspace)
    return run
