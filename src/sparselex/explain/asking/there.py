"""Whose explanations a walk is about: a writer's, which it has written, or those of somebody who explained before."""

from collections.abc import Mapping

from sparselex.base.errors import UserError
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.labels import LABEL, enter
from sparselex.explain.asking.registry import WRITERS
from sparselex.explain.asking.store import AskedStore
from sparselex.explain.registry import EXPLAINERS
from sparselex.explain.store import ExplanationStore


def writes(config: AskConfig) -> bool:
    """Whether explanations are to be written, and not only judged."""
    return config.writer in WRITERS.names()


def check_writer(
    config: AskConfig, index_id: str, store: ExplanationStore, asked: AskedStore, labels: Mapping[int, str]
) -> None:
    """Raise `UserError` where there is neither a writer of that name nor an explanation by it, or where what is written
    would take the place of what was not got by asking. Labels are entered into the store."""
    if writes(config):
        _check_kept(config, index_id, store, asked)
        return
    if config.stored_as:
        raise UserError(
            f"Explanations by {config.writer} are there already, and were to be kept as {config.stored_as!r}.",
            "another name for what is written alone",
            "leave out --as.",
        )
    if config.writer == LABEL:
        if not labels:
            raise UserError(
                "Nobody has written a label for a feature of this run.",
                "labels, which are written on the features' pages",
                "write some (`sparselex serve`), or take another writer.",
            )
        enter(store, index_id, labels)
        return
    _check_there(config.writer, [who for who, _, _ in store.explainers(index_id)])


def _check_there(name: str, there: list[str]) -> None:
    if name not in there:
        raise UserError(
            f"Unknown writer {name!r}.",
            f"one of the writers {', '.join(WRITERS.names())}, {LABEL} for the labels that people wrote, or an "
            f"explainer whose explanations of this run are there ({', '.join(there) or 'none are'})",
            "choose one of these.",
        )


def _check_kept(config: AskConfig, index_id: str, store: ExplanationStore, asked: AskedStore) -> None:
    """Refuse a name under which somebody else explains."""
    name, ours = config.name, {about.explainer for about in asked.about(index_id) if about.writing_id}
    foreign = name in [who for who, _, _ in store.explainers(index_id)] and name not in ours
    # Those of earlier versions have no more than a row for each explanation.
    foreign = foreign and not any(not row.judge for row in asked.of_index(index_id, name))
    if foreign or name in (LABEL, *EXPLAINERS.names()):
        raise UserError(
            f"Explanations by {config.writer} were to be kept as {name!r}, where those of somebody else are or come.",
            "a name of their own",
            "give another --as NAME.",
        )
