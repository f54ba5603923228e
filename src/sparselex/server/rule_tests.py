"""What rules were held against, of the index and the explanations that a run has now."""

from pathlib import Path

from sparselex.base.artifacts import read_manifest, record_of
from sparselex.evaluate.intervals.records import FILE as INTERVALS_FILE
from sparselex.evaluate.intervals.records import KIND as INTERVALS
from sparselex.evaluate.intervals.records import IntervalAnswers
from sparselex.evaluate.logits.records import FILE as LOGITS_FILE
from sparselex.evaluate.logits.records import KIND as LOGITS
from sparselex.evaluate.logits.records import LogitAnswers
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import NotMadeYet


def logit_answers(opened: OpenWorkspace, run: str) -> LogitAnswers | None:
    """What a run's rules say of logit weights; None where they were not asked, or other rules were."""
    return opened.artifact(run, LOGITS, _logits) if _is_current(opened, run, LOGITS) else None


def interval_answers(opened: OpenWorkspace, run: str) -> IntervalAnswers | None:
    """How a run's rules hold at every size of activation; None where that was not measured, or of other rules."""
    return opened.artifact(run, INTERVALS, _intervals) if _is_current(opened, run, INTERVALS) else None


def not_made(opened: OpenWorkspace, run: str, name: str) -> NotMadeYet:
    """What is said where an analysis of rules was not made of what the run has now."""
    return NotMadeYet(
        f"The rules of run {run!r} were not held against {_AGAINST[name]}, as it is indexed and explained now.",
        "a run in which that was done",
        f"run `sparselex analyse {name} {opened.workspace.typed} --run {run}`.",
    )


_AGAINST = {LOGITS: "logit weights", INTERVALS: "activations of every size"}


def _is_current(opened: OpenWorkspace, run: str, kind: str) -> bool:
    if not all(opened.has(run, needed) for needed in (kind, "index", "explanations")):
        return False
    made, folder = read_manifest(opened.workspace.run(run) / kind).inputs, opened.workspace.run(run)
    same_rules = made.get("explanations") == read_manifest(folder / "explanations").id
    return same_rules and made.get("index") == opened.index(run).index.id


def _logits(path: Path) -> LogitAnswers:
    return record_of(LogitAnswers, path, LOGITS_FILE)


def _intervals(path: Path) -> IntervalAnswers:
    return record_of(IntervalAnswers, path, INTERVALS_FILE)
