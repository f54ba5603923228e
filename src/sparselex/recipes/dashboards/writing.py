"""Dashboards as files, batch by batch, in the layouts of SAEDashboard and Neuronpedia."""

import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sparselex.base.artifacts import MANIFEST
from sparselex.base.files import check_room, new_folder
from sparselex.base.progress import progress
from sparselex.convert import neuronpedia, saedashboard
from sparselex.convert.dashboard import Dashboard, DashboardSet
from sparselex.recipes.dashboards.evidence import Evidence
from sparselex.recipes.dashboards.names import layer_of, public_name
from sparselex.recipes.run import Run
from sparselex.recipes.stages.export import Export

PER_BATCH = 128
"""Features in a file, as many as SAEDashboard writes."""

_COMPRESSION = 4
"""Of gzip: a third of the time of its default, and a tenth more bytes."""

WriteBatch = Callable[[int, list[Dashboard]], None]
"""`(number, dashboards)`: writes one batch."""


def write_saedashboard(run: Run, stage: Export) -> None:
    """Write the folder that SAEDashboard's runner leaves. Raises `UserError` like `Evidence`, for an existing folder,
    and where the disk has no room."""
    evidence = Evidence(run)
    of, latents = set_of(evidence, stage), stage.chosen(evidence.index.d_sae)
    with new_folder(stage.to) as folder:
        _write_json(folder / "skipped_indexes.json", saedashboard.skipped_of(of))
        _write_json(folder / "run_settings.json", saedashboard.settings_of(of, PER_BATCH))

        def batch(number: int, dashboards: list[Dashboard]) -> None:
            _write_json(folder / saedashboard.BATCH.format(number), saedashboard.batch_of(dashboards, of))

        _in_batches(evidence, latents, folder, batch)


def write_neuronpedia(run: Run, stage: Export) -> None:
    """Write `<model>/<source>/` in the layout of Neuronpedia's bulk import. Raises like `write_saedashboard`."""
    evidence = Evidence(run)
    of, latents = set_of(evidence, stage), stage.chosen(evidence.index.d_sae)
    with new_folder(stage.to) as folder:
        home = folder / of.model.replace("/", "_") / of.source
        for part in neuronpedia.PARTS:
            (home / part).mkdir(parents=True)
        for name, row in neuronpedia.heads_of(of, stage.creator, run.model.n_layers, notes_of(evidence)).items():
            _write_json(home / f"{name}.jsonl", row)

        def batch(number: int, dashboards: list[Dashboard]) -> None:
            for part, rows in _rows(dashboards, of, stage.creator):
                _write_lines(home / neuronpedia.BATCH.format(part, number), rows)

        _in_batches(evidence, latents, home, batch)


def set_of(evidence: Evidence, stage: Export) -> DashboardSet:
    """What all dashboards of a run say of it. Raises `UserError` where it reads a place without a layer and none is
    named."""
    run, index, corpus = evidence.run, evidence.index, evidence.index.corpus
    card = run.workspace.card(run.name)
    read = index.counted.reshape(corpus.n_rows, corpus.n_ctx).any(axis=1)
    made = datetime.fromtimestamp((index.path / MANIFEST).stat().st_mtime, UTC)
    return DashboardSet(
        model=stage.model_id or public_name(card.model),
        layer=layer_of(card) if stage.layer is None else stage.layer,
        name=stage.set_name or f"{public_name(str(run.workspace.path))}-{run.name}",
        n_prompts=int(read.sum()),
        n_prompt_tokens=corpus.n_ctx,
        dataset=public_name(run.config.text.source),
        hook=str(index.sites),
        d_model=run.model.d_model,
        d_sae=index.d_sae,
        made_at=made.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    )


def notes_of(evidence: Evidence) -> str:
    """What a reader has to know of the figures, in a sentence each."""
    index = evidence.index
    return (
        f"Made by sparselex from index {index.id}. Activations at {index.sites}; examples are from training documents, "
        f"shares and bins count activations that are not 0 on {index.n_tokens_total:,} tokens. "
        f"Logits: {index.manifest.notes['logits'] or 'none'}."
    )


def _in_batches(evidence: Evidence, latents: Sequence[int], folder: Path, write: WriteBatch) -> None:
    """Write all batches. Raises `UserError` as soon as those that are left would not fit on the disk."""
    parts = [latents[start : start + PER_BATCH] for start in range(0, len(latents), PER_BATCH)]
    with progress("export", len(latents), "features") as bar:
        for number, part in enumerate(parts):
            write(number, evidence.of(part))
            bar.advance(len(part))
            written = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            check_room(folder, written / (number + 1) * (len(parts) - number - 1))


def _rows(
    dashboards: Iterable[Dashboard], of: DashboardSet, creator: str
) -> Iterator[tuple[str, Iterator[dict[str, Any]]]]:
    dashboards = list(dashboards)
    yield neuronpedia.FEATURES, (neuronpedia.feature_of(one, of, creator) for one in dashboards)
    for part, rows_of in (
        (neuronpedia.ACTIVATIONS, neuronpedia.activations_of),
        (neuronpedia.EXPLANATIONS, neuronpedia.explanations_of),
    ):
        yield part, (row for one in dashboards for row in rows_of(one, of, creator))


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n", "utf-8", "backslashreplace")


def _write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Lines of JSON, compressed; the same bytes for the same rows whenever they are written."""
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", _COMPRESSION, raw, mtime=0) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace"))
            file.write(b"\n")
