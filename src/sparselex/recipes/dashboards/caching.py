"""A run's index as delphi's cache, which its loader reads."""

from pathlib import Path

import numpy as np

from sparselex.base.files import check_room, new_folder
from sparselex.base.progress import progress
from sparselex.convert.delphi_cache import ranges, write_config, write_part
from sparselex.features.index import FeatureIndex
from sparselex.recipes.dashboards.names import public_name
from sparselex.recipes.run import Run
from sparselex.recipes.stages.export import Export

_ENTRY_BYTES, _WORD_BYTES = 14, 8
"""Of an activation at most, and of a token."""


def write_cache(run: Run, stage: Export) -> None:
    """Write `<hookpoint>/` with all activations of the index. Raises `UserError` for a sampled index, an activation
    beyond float16, an existing folder, and where the disk has no room."""
    run.manifest("index")
    index = run.index
    index.check_whole("writing all activations")
    corpus, parts = index.corpus, ranges(index.d_sae)
    name = "+".join(hook.removeprefix("module:") for hook in index.sites.hooks)
    with new_folder(stage.to) as folder:
        home = folder / name
        home.mkdir()
        n_tokens = corpus.n_rows * corpus.n_ctx
        check_room(folder, _ENTRY_BYTES * int(index.indptr[-1]) + _WORD_BYTES * n_tokens * len(parts))
        card = run.workspace.card(run.name)
        dataset = public_name(run.config.text.source)
        write_config(home, public_name(card.model), dataset, (corpus.n_rows, corpus.n_ctx), {"index": index.id})
        with progress("export", index.d_sae, "features") as bar:
            for latents in parts:
                _write(index, latents, home)
                bar.advance(len(latents))


def _write(index: FeatureIndex, latents: range, home: Path) -> None:
    columns = [index.column(latent) for latent in latents]
    positions, values = (np.concatenate(part) for part in zip(*columns, strict=True))
    numbers = np.repeat(np.arange(latents.start, latents.stop), [len(one) for one, _ in columns])
    # In the order of the text, as its project has them.
    order = np.lexsort((numbers, positions))
    rows, places = np.divmod(positions[order], index.corpus.n_ctx)
    write_part(home, latents, rows, places, numbers[order], values[order], np.asarray(index.corpus.tokens))
