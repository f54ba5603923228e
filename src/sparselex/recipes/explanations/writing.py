"""A run's explanations in other projects' layouts."""

import gzip
import json
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sparselex.base.artifacts import MANIFEST
from sparselex.base.errors import UserError
from sparselex.base.files import new_folder
from sparselex.base.workspace import Workspace
from sparselex.convert.explanations import delphi, neuronpedia, openai, plain
from sparselex.convert.explanations.told import Ours, OurScore, OurSet
from sparselex.explain.records import Explanation, Score
from sparselex.features.index import FeatureIndex
from sparselex.recipes.dashboards.names import public_name
from sparselex.recipes.explanations.judged import JudgedWindows
from sparselex.recipes.explanations.opened import Opened, open_explanations
from sparselex.recipes.explanations.records import ExportSummary

JSONL = "jsonl"

_Files = Iterator[tuple[str, str]]
"""Names and texts of files."""

_HOOKPOINT = re.compile(r"\w[\w.-]{0,199}", re.ASCII)


def export_explanations(
    workspace: Workspace, run: str, to: Path, *, layout: str, explainers: Sequence[str] = (), hookpoint: str = ""
) -> ExportSummary:
    """Write what is said of a run's latents to a new folder.

    Args:
        workspace: the workspace.
        run: the run.
        to: the folder to make.
        layout: delphi, neuronpedia, openai or jsonl.
        explainers: whose explanations; empty for those of all.
        hookpoint: what delphi calls the place that is read; empty for the name that the run has for it.

    Raises `UserError` where there is nothing to write, for several explainers where the layout holds one text of each
    latent, and for a folder that exists.
    """
    opened = open_explanations(workspace, run)
    found = _explanations(opened, explainers)
    if layout == delphi.FORMAT and len({one.explainer for one in found}) > 1:
        raise UserError(
            f"Run {run!r} has explanations by {', '.join(dict.fromkeys(one.explainer for one in found))}.",
            "one explainer, for this format has one text of each latent",
            "name it with --explainer.",
        )
    ours = [one for one in found if layout == JSONL or one.status == "explained"]
    if not ours:
        raise UserError(
            f"Run {run!r} has nothing to write.", "a run with explanations", "run `sparselex explain` first."
        )
    of = _set_of(workspace, run, opened.features, hookpoint)
    judged = JudgedWindows(workspace, run, opened)
    with new_folder(to) as folder:
        for name, text in _FILES[layout](ours, of, judged):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            data = text.encode(errors="backslashreplace")
            # The same bytes for the same explanations whenever they are written.
            path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return ExportSummary(
        format=layout,
        folder=to.absolute(),
        n=len(ours),
        n_left_out=len(found) - len(ours),
        n_judgements=+judged.n_written,
        not_written=dict(judged.left_out),
    )


def _explanations(opened: Opened, explainers: Sequence[str]) -> list[Ours]:
    """Everything that these explainers say, by latent. Raises `UserError` for one that says nothing."""
    there = [name for name, _, _ in opened.store.explainers(opened.features.id)]
    if unknown := [name for name in explainers if name not in there]:
        raise UserError(
            f"Nothing is said by {unknown[0]!r}.", f"one of {', '.join(there) or 'none'}", "choose one of these."
        )
    index_id, definitions = opened.features.id, opened.store.definitions()
    imported = {(row.explainer, row.latent): row.to_json() for row in opened.imported.of_index(index_id)}
    found = []
    for name in dict.fromkeys(explainers or there):
        scores: dict[int, list[OurScore]] = {}
        for latent, score in opened.store.scores_of(index_id, name):
            scores.setdefault(latent, []).append(_score(score, definitions))
        for said in opened.store.all(index_id, name):
            found.append(_ours(said, scores.get(said.latent, []), imported.get((name, said.latent))))
    return sorted(found, key=lambda one: one.latent)


def _ours(said: Explanation, scores: list[OurScore], imported: dict[str, Any] | None) -> Ours:
    beside = {name: value for name, value in (imported or {}).items() if name not in ("latent", "explainer")}
    return Ours(said.latent, said.explainer, said.status, said.title, said.text, scores, beside, said.predictor)


def _score(score: Score, definitions: dict[str, dict[str, str]]) -> OurScore:
    said = definitions.get(score.scorer, {}).get(score.metric, "")
    return OurScore(score.scorer, score.metric, score.value, score.ci_low, score.ci_high, score.n, score.null, said)


def _set_of(workspace: Workspace, run: str, index: FeatureIndex, hookpoint: str) -> OurSet:
    card, hook = workspace.card(run), index.sites.written[-1]
    named = hookpoint or re.sub(r"[^\w.-]", "_", str(index.sites).removeprefix("module:"))
    if not _HOOKPOINT.fullmatch(named):
        raise UserError(
            f"{named!r} cannot be a hookpoint.", "a dotted path, such as layers.3.mlp", "name it with --hookpoint."
        )
    made = datetime.fromtimestamp((index.path / MANIFEST).stat().st_mtime, UTC)
    return OurSet(
        model=public_name(card.model),
        hookpoint=named,
        layer=hook.layer or 0,
        source=f"{hook.layer or 0}-{public_name(str(workspace.path))}-{run}",
        made_at=made.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    )


def _delphi(ours: list[Ours], of: OurSet, judged: JudgedWindows) -> _Files:
    return ((name, json.dumps(value)) for name, value in delphi.written(ours, of, judged.of))


def _neuronpedia(ours: list[Ours], of: OurSet, judged: JudgedWindows) -> _Files:
    yield "explanations/batch-0.jsonl.gz", _lines(neuronpedia.written(ours, of))


def _openai(ours: list[Ours], of: OurSet, judged: JudgedWindows) -> _Files:
    records = openai.written(ours, of, judged.simulated)
    return ((f"explanations/{name}", json.dumps(record) + "\n") for name, record in records)


def _jsonl(ours: list[Ours], of: OurSet, judged: JudgedWindows) -> _Files:
    yield plain.EXPORTED, _lines(plain.written(ours))


def _lines(rows: Iterator[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


_FILES: dict[str, Callable[[list[Ours], OurSet, JudgedWindows], _Files]] = {
    delphi.FORMAT: _delphi,
    neuronpedia.FORMAT: _neuronpedia,
    openai.FORMAT: _openai,
    JSONL: _jsonl,
}

LAYOUTS = tuple(_FILES)
"""What can be written."""
