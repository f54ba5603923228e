"""Features and activations as Parquet: what the index has, in an order by which queries skip what they do not need."""

import json
from itertools import pairwise

import numpy as np
import pyarrow.parquet
import pytest

from sparselex.recipes.run import Run
from sparselex.recipes.tables import write_parquet

NAMES = ("features", "activations", "tokens", "documents", "explanations", "scores")


@pytest.fixture(scope="module")
def run(small_workspace) -> Run:
    return Run.open(small_workspace)


@pytest.fixture(scope="module")
def tables(run, tmp_path_factory):
    to = tmp_path_factory.mktemp("out") / "tables"
    run.do("export", to=to, layout="parquet")
    return to


def test_tables_hold_what_the_index_has(run, tables):
    index, corpus = run.index, run.index.corpus
    read = {name: pyarrow.parquet.read_table(tables / f"{name}.parquet").to_pydict() for name in NAMES}
    assert {path.stem for path in tables.iterdir()} == set(NAMES)
    assert read["features"]["latent"] == list(range(index.d_sae))
    assert read["features"]["density"] == index.table["density"].tolist()
    columns = [index.column(latent) for latent in range(index.d_sae)]
    assert read["activations"]["position"] == np.concatenate([positions for positions, _ in columns]).tolist()
    assert read["activations"]["value"] == np.concatenate([values for _, values in columns]).tolist()
    assert read["activations"]["latent"] == np.repeat(range(index.d_sae), np.diff(index.indptr)).tolist()
    assert read["tokens"]["token"] == corpus.tokens.reshape(-1).tolist()
    assert read["tokens"]["text"][:300] == [corpus.vocabulary.text(token) for token in read["tokens"]["token"][:300]]
    assert read["tokens"]["counted"] == index.counted.tolist()
    split = {name: read["tokens"]["split"].count(name) // corpus.n_ctx for name in corpus.row_ranges}
    assert split == {name: len(rows) for name, rows in corpus.row_ranges.items()}
    assert read["documents"]["name"] == corpus.names
    explained = set(read["explanations"]["latent"])
    assert explained == set(np.flatnonzero(index.table["n_active"]).tolist())
    assert "auroc" in read["scores"]["metric"] and str(run.workspace.path) not in json.dumps(read["scores"])


def test_a_query_for_one_latent_reads_few_groups(run, tmp_path, monkeypatch):
    """Groups are sorted, and say their least and largest latent."""
    monkeypatch.setattr("sparselex.recipes.tables.ROW_GROUP", 512)
    write_parquet(run, run.stage("export", to=tmp_path / "t", layout="parquet"))
    file = pyarrow.parquet.ParquetFile(tmp_path / "t" / "activations.parquet").metadata
    ranges = [file.row_group(n).column(0).statistics for n in range(file.num_row_groups)]
    assert len(ranges) > 10 and all(a.max <= b.min for a, b in pairwise(ranges))
    assert [one.column_index for one in file.row_group(0).sorting_columns] == [0, 1]


def test_chosen_latents_alone(run, tmp_path):
    run.do("export", to=tmp_path / "some", layout="parquet", latents=[7, 3])
    for name in ("features", "activations", "explanations", "scores"):
        found = set(pyarrow.parquet.read_table(tmp_path / "some" / f"{name}.parquet")["latent"].to_pylist())
        assert found <= {3, 7} and (name == "activations" or 3 in found or name == "scores")
