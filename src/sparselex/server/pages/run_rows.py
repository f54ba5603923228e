"""A run as the home page lists it: what it is, its headline figures, and what is missing."""

from datetime import UTC, datetime
from pathlib import Path

from sparselex.base.artifacts import MANIFEST, Manifest
from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.figures import Figure, Figures
from sparselex.base.runs import RunCard
from sparselex.evaluate.effects.records import KIND as EFFECTS
from sparselex.evaluate.gathered import EXPLANATIONS, fresh
from sparselex.evaluate.twins import CONTROL
from sparselex.server.opened import OpenWorkspace
from sparselex.server.pages.directions import chosen_activity
from sparselex.server.tried import Tried

HEADLINES = {
    "core/loss_recovered_mean": "loss recovered",
    "core/fvu": "FVU",
    "core/l0": "L0",
    "core/dead_share": "dead",
    "causal/used_share": "used",
}
"""Figures that the list of runs shows, and what its columns are called; behind them the foremost of each explainer."""

_WITH_HEADLINES = ("evaluation", EFFECTS, *EXPLANATIONS)
"""Artifacts that these are of: of fifty runs the figures of all others would be read for nothing."""

_FOREMOST = ("f1", "balanced_accuracy", "accuracy", "auroc", "correlation")
"""Measures of explanations of which the first that a run has stands for the others."""


class Missing(Config):
    """A stage that a run has not been through."""

    makes: str
    """Kind of artifact that it leaves."""

    command: str
    """What makes it, as it can be typed into a shell."""


class RunRow(Config):
    """A run in the list of all."""

    name: str
    """Name of the run."""

    card: RunCard | None
    """What the run says of itself; None if that cannot be read."""

    dictionary: str | None
    """Type and size of the dictionary, of one that was not trained what its directions are; None if not trained
    yet."""

    n_tokens: int | None
    """Tokens it was trained on; None if that is not known."""

    imported_from: str | None
    """Where the dictionary came from, if it was not trained here; None of the coordinates too."""

    chosen_activity: str
    """Of directions that a person gave, where they are active; empty for a dictionary that was trained."""

    figures: dict[str, Figure]
    """Headline figures by the words of their column; those that were not measured are left out."""

    made: list[str]
    """Artifacts that it has."""

    missing: list[Missing]
    """Those without which it is unfinished, in the order in which they are made."""

    stale: list[str]
    """Figures that are left out, and why."""

    changed: str
    """When its last artifact was made, UTC; empty where it has none."""

    failure: str
    """Why the run cannot be read; empty if it can."""


def run_row(opened: OpenWorkspace, run: str, card: RunCard | UserError, tried: Tried) -> RunRow:
    """A run in short; what cannot be read of it is kept by `tried`."""
    artifacts: dict[str, Manifest] = tried(lambda: opened.workspace.artifacts(run), {})
    trained = artifacts.get("dictionary")
    nothing: tuple[dict[str, Figures], dict[str, str]] = ({}, {})
    found, stale = (
        tried(lambda: fresh(opened.workspace, run, card, _WITH_HEADLINES), nothing)
        if isinstance(card, RunCard)
        else nothing
    )
    dictionary = trained.config["dictionary"] if trained else None
    given = trained.config.get("directions", {}).get("source") if trained else None
    control = trained.config.get(CONTROL, {}).get("kind") if trained else None
    kind = dictionary and (f"directions ({Path(given).name})" if given else control or dictionary["kind"])
    return RunRow(
        name=run,
        card=card if isinstance(card, RunCard) else None,
        dictionary=f"{kind}, {dictionary['d_in']:,} → {dictionary['d_sae']:,}" if dictionary else None,
        n_tokens=trained.notes.get("n_tokens") if trained else None,
        imported_from=trained.config.get("source", given if given != "neurons" else None) if trained else None,
        chosen_activity=chosen_activity(trained),
        figures=_headlines([figure for part in found.values() for figure in part.figures]),
        made=list(artifacts),
        missing=missing_of(opened, card) if isinstance(card, RunCard) else [],
        stale=[f"{name}, {why}" for name, why in stale.items()],
        changed=_changed(opened, run, list(artifacts)),
        failure="" if isinstance(card, RunCard) else card.given,
    )


def _headlines(figures: list[Figure]) -> dict[str, Figure]:
    by_name = {figure.name: figure for figure in figures}
    found = {words: by_name[name] for name, words in HEADLINES.items() if name in by_name}
    explained = [name.split("/") for name in by_name if name.startswith("explain/")]
    for explainer in dict.fromkeys(parts[1] for parts in explained):
        last = {parts[-1]: "/".join(parts) for parts in reversed(explained) if parts[1] == explainer}
        metric = next((metric for metric in _FOREMOST if metric in last), None)
        if metric:
            judge = last[metric].split("/")[2:-1]
            found[f"{', '.join([explainer, *judge])}: {metric.replace('_', ' ')}"] = by_name[last[metric]]
    return found


def missing_of(opened: OpenWorkspace, card: RunCard) -> list[Missing]:
    """The stages without which a run is unfinished and which it has not been through."""
    verbs = {stage.makes: stage.verb for stage in card.stages if stage.expected}
    return [
        Missing(makes=makes, command=f"sparselex {verbs[makes]} {opened.workspace.typed} --run {card.name}")
        for makes in opened.missing(card)
    ]


def _changed(opened: OpenWorkspace, run: str, artifacts: list[str]) -> str:
    folder = opened.workspace.run(run)
    times = [(folder / name / MANIFEST).stat().st_mtime for name in artifacts if (folder / name / MANIFEST).is_file()]
    return datetime.fromtimestamp(max(times), UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if times else ""
