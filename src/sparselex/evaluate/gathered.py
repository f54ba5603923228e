"""The figures of a run as they lie on disk: those of every artifact that was made of what the run has now."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from sparselex.atlas.analyses import ANALYSES
from sparselex.atlas.compare.records import compared_with
from sparselex.atlas.maps.records import KIND as MAP
from sparselex.atlas.records import SWEEP, SweepReport
from sparselex.base.artifacts import Manifest, read_manifest, record_of
from sparselex.base.figures import FIGURES, Figure, Figures
from sparselex.base.runs import RunCard
from sparselex.base.workspace import Workspace
from sparselex.evaluate.against import KIND as CONTROLS
from sparselex.evaluate.apart import artifacts_apart, figures_apart, is_apart
from sparselex.evaluate.records import INFLUENCES, Influences

_EVALUATION = "evaluation"
_SWEEP = "sweep"
_EXPLAINED = "explained"
"""Beginning of the figures of an evaluation that are of explanations: these may be replaced without it."""

EXPLANATIONS = ("explanations", "explanations-llm")
"""Artifacts of explanations."""

_OF_OTHERS = (CONTROLS, *ANALYSES)
"""Artifacts that hold a run against others, whose artifacts stand among their inputs as `run/artifact`."""

_FIRST = (_EVALUATION, *EXPLANATIONS, CONTROLS, "diff")
"""Artifacts whose figures come first, in this order; the others follow by name."""

_MEASURED = ("dictionary", "index")
"""Inputs that the run itself makes, and may have made anew since."""


class Gathered(NamedTuple):
    """What the artifacts of one run say in numbers."""

    figures: list[Figure]
    """Figures of the run."""

    controls: dict[str, list[Figure]]
    """The same figures of its control dictionaries, by control."""

    influences: Influences | None
    """What the figures of its evaluation owe to each document; None where that is not known."""

    stability: list[Figure]
    """How much of a dictionary with the run's settings is found again by another seed, of the run's sweep."""

    stable_elsewhere: list[str]
    """Settings of that sweep that are others than the run's, of which stability was measured."""

    asked_l0: float | None
    """Active latents of a token as they were asked for; None where that is not known."""

    stale: dict[str, str]
    """Artifacts that were left out, and why: what they were measured on is gone, or is another now; and what to run."""


def has_figures(workspace: Workspace, run: str) -> bool:
    """Whether an artifact of the run holds figures, of whatever it had when they were measured; or a pair or a
    decomposition that it has a part in."""
    own = any(FIGURES in manifest.files for manifest in workspace.artifacts(run).values())
    return own or bool(artifacts_apart(workspace, run))


def gather(workspace: Workspace, run: str) -> Gathered:
    """All figures of a run, those of its explanations after those of its evaluation.

    Raises `UserError` for a file that is not what its artifact's manifest says.
    """
    artifacts = workspace.artifacts(run)
    found, stale = fresh(workspace, run, workspace.card(run))
    ordered = [found[name] for name in sorted(found, key=_place)]
    controls: dict[str, list[Figure]] = {}
    for part in ordered:
        for control, figures in part.controls.items():
            controls.setdefault(control, []).extend(figures)
    stability, own = _stability(workspace, run, artifacts)
    evaluation = artifacts.get(_EVALUATION) if _EVALUATION in found else None
    known = evaluation is not None and INFLUENCES in evaluation.files
    return Gathered(
        figures=[figure for part in ordered for figure in part.figures],
        controls=controls,
        influences=Influences.read(workspace.run(run) / _EVALUATION) if known else None,
        stability=stability.pop(own, []),
        stable_elsewhere=list(stability),
        asked_l0=evaluation.notes.get("asked_l0") if evaluation else None,
        stale={name: stale[name] for name in sorted(stale, key=_place)},
    )


def fresh(
    workspace: Workspace, run: str, card: RunCard, only: Collection[str] | None = None
) -> tuple[dict[str, Figures], dict[str, str]]:
    """The figures of a run by artifact, or of those named `only`, and the artifacts that are left out with the reasons.
    Raises like `gather`."""
    artifacts = workspace.artifacts(run)
    measured = [name for name, manifest in artifacts.items() if FIGURES in manifest.files]
    # Of two stages that make the same, the one that an unfinished run still wants comes last, and so counts.
    verbs = {stage.makes: stage.verb for stage in sorted(card.stages, key=lambda stage: stage.expected)}
    stale = {name: why for name in measured if (why := _why_stale(name, artifacts, verbs))}
    stale |= {name: why for name in measured if name not in stale and (why := _why_of_pair(workspace, run, name))}
    beside = [name for name in _OF_OTHERS if name in artifacts and name not in stale]
    stale |= {name: why for name in beside if (why := _against_others(workspace, name, artifacts, verbs))}
    if MAP in measured and MAP not in stale and (why := _of_other_artifacts(workspace, MAP, artifacts, verbs)):
        stale[MAP] = why
    wanted = [name for name in measured if name not in stale and (only is None or name in only)]
    found = {name: Figures.read(workspace.run(run) / name) for name in wanted}
    if _EVALUATION in found and (why := _changed(_EVALUATION, "explanations", artifacts, verbs)):
        stale[_EXPLAINED] = why
        found[_EVALUATION] = _without(found[_EVALUATION], f"{_EXPLAINED}/")
    apart, old = figures_apart(workspace, run)
    return found | apart, stale | old


def _stability(
    workspace: Workspace, run: str, artifacts: Mapping[str, Manifest]
) -> tuple[dict[str, list[Figure]], str]:
    """Figures of stability by setting, as the run's sweep has them, and which setting is that of the run's own
    dictionary; empty if none is."""
    if _SWEEP not in artifacts:
        return {}, ""
    report, found = record_of(SweepReport, workspace.run(run) / _SWEEP, SWEEP), dict[str, list[Figure]]()
    for figure in report.stability:
        found.setdefault(figure.name.split("/")[1], []).append(figure)
    if "dictionary" not in artifacts:
        return found, ""
    config = artifacts["dictionary"].config.get("dictionary", {})
    has = config | {"expansion": config.get("d_sae", 0) / max(1, config.get("d_in", 0))}
    alike = (row for row in report.rows if all(has.get(name) == value for name, value in row.settings.items()))
    return found, next((row.name.rpartition("-s")[0] for row in alike), "")


def _why_stale(name: str, artifacts: Mapping[str, Manifest], verbs: Mapping[str, str]) -> str:
    """Why an artifact of a run is not of the dictionary and the index that the run has now, or the index not of that
    dictionary; empty if all of them are."""
    for role in _MEASURED:
        if why := _changed(name, role, artifacts, verbs):
            return why
        if role in artifacts[name].inputs and (why := _why_stale(role, artifacts, verbs)):
            return why if why.startswith("its ") else f"its {role} is {why}"
    return ""


def _against_others(
    workspace: Workspace, name: str, artifacts: Mapping[str, Manifest], verbs: Mapping[str, str]
) -> str:
    """Why what holds a run against others is of other artifacts than these have now, or of other explanations than the
    run has; empty if not."""
    for role in EXPLANATIONS:
        if why := _changed(name, role, artifacts, verbs):
            return why
    return _of_other_artifacts(workspace, name, artifacts, verbs)


def _of_other_artifacts(
    workspace: Workspace, name: str, artifacts: Mapping[str, Manifest], verbs: Mapping[str, str]
) -> str:
    """Why what was made of other runs too is of other artifacts than these have now; empty if not."""
    for role, made_of in artifacts[name].inputs.items():
        run, _, part = role.partition("/")
        if part and (not workspace.has(run, part) or read_manifest(workspace.run(run) / part).id != made_of):
            verb = verbs.get(name)
            mended = f"`sparselex {verb}` makes it again" if verb else "run the stage that makes it"
            return f"of another {part} of run {run!r} than that has now, and {mended}"
    return ""


def _changed(name: str, role: str, artifacts: Mapping[str, Manifest], verbs: Mapping[str, str]) -> str:
    """What became of one input of an artifact, and the command that mends it; empty where it is as it was, or is no
    input of it."""
    made_of = artifacts[name].inputs.get(role)
    if made_of is None or (role in artifacts and artifacts[role].id == made_of):
        return ""
    is_gone = role not in artifacts
    verb = verbs.get(role if is_gone else name)
    mended = f"`sparselex {verb}` makes {'that' if is_gone else 'it'} again" if verb else "run the stage that makes it"
    if is_gone:
        return f"its {role} {'are' if role.endswith('s') else 'is'} gone, and {mended}"
    return f"of {'other' if role.endswith('s') else 'another'} {role} than the run has now, and {mended}"


def _why_of_pair(workspace: Workspace, run: str, name: str) -> str:
    """Why a comparison is not of the indexes that both runs have now; empty if it is, or is no comparison."""
    other = compared_with(name)
    if other is None:
        return ""
    made_of = workspace.artifacts(run)[name].inputs
    for side, one in (("a", run), ("b", other)):
        indexed = workspace.artifacts(one).get("index") if workspace.has_run(one) else None
        if indexed is None or indexed.id != made_of.get(f"index {side}"):
            return f"of another index than {one} has now, and `sparselex compare --run {run} --with {other}` mends it"
    return ""


def _without(figures: Figures, prefix: str) -> Figures:
    def kept(part: Sequence[Figure]) -> list[Figure]:
        return [figure for figure in part if not figure.name.startswith(prefix)]

    return Figures(
        figures=kept(figures.figures), controls={name: kept(part) for name, part in figures.controls.items()}
    )


def _place(name: str) -> tuple[int, str]:
    return (_FIRST.index(name) if name in _FIRST else len(_FIRST) + is_apart(name)), name
