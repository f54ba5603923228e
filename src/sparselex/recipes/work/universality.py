"""Measure how universal the latents of a run are."""

from collections.abc import Iterator

from sparselex.atlas.universality.config import UniversalityConfig
from sparselex.atlas.universality.walk import Looked, universality
from sparselex.evaluate.report import write_report
from sparselex.evaluate.twins import differing, words_of
from sparselex.recipes.run import Run
from sparselex.recipes.stages.universality import FindUniversal, others_of


def universality_run(run: Run, stage: FindUniversal) -> None:
    """The run's latents in those of others; a report that is there already takes the figures up."""
    others = others_of(run, stage.others)
    inputs = {"dictionary": run.manifest("dictionary").id, "index": run.index.id, "model": run.model.id}
    inputs |= {f"{name}/index": index for name, index in others.items()}
    to = run.folder / FindUniversal.makes
    universality(_looked(run, ""), _opened(run, list(others)), stage.part(UniversalityConfig), to, inputs=inputs)
    run.keep_options(stage)
    if run.workspace.report.exists():
        write_report(run.workspace)


def _opened(run: Run, names: list[str]) -> Iterator[Looked]:
    """The others, one after the other: a model is loaded when it is looked at."""
    for name in names:
        yield _looked(Run.open(run.workspace, name), _differs(run, name))


def _differs(run: Run, other: str) -> str:
    """What another run has otherwise, in words."""
    mine, card = (run.workspace.card(name) for name in (run.name, other))
    if card.twin_of is not None:
        return f"a control: {words_of(run.workspace, card)}"
    parts = [f"another model, {card.model}"] if card.model != mine.model else ["the same model"]
    if card.sites != mine.sites:
        parts.append("another site")
    if settings := differing(run.workspace, run.name, other):
        parts.append(settings)
    return "; ".join(parts)


def _looked(run: Run, differs: str) -> Looked:
    dictionary = run.dictionary
    return Looked(run.name, run.model, run.config.model.name, differs, run.index, dictionary, dictionary.signed)
