"""Metrics: one that another package brings is measured like ours."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sparselex.activations.live import Reader
from sparselex.base.errors import UserError
from sparselex.base.sites import Sites
from sparselex.dictionaries.files import load_dictionary
from sparselex.evaluate.core import core_sums
from sparselex.evaluate.core_figures import core_figures, pooled
from sparselex.evaluate.metrics import METRICS, OF_PREDICTIONS, token_columns
from sparselex.evaluate.subjects import Itself
from sparselex.lm.load import load_model

PAGE = Path(__file__).parents[2] / "docs" / "report.md"
HOOK = "blocks.0.mlp.hook_post"


def install(folder: Path, *, column: str = "absolute_error") -> None:
    """Put the package of docs/report.md into `folder` as pip would leave it, its column named `column`."""
    text = PAGE.read_text(encoding="utf-8")
    (module,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.S) if "Metric(" in block]
    ((group, line),) = re.findall(r'\[project.entry-points."(.*)"\]\n(.*)\n', text)
    folder.mkdir()
    (folder / "absolute_error.py").write_text(
        module.partition("\nprint(")[0].replace('"absolute_error":', f'"{column}":')
    )
    metadata = folder / "absolute_error-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: absolute-error\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{line.replace(chr(34), '')}\n")


@pytest.fixture
def installing(tmp_path, monkeypatch):
    def put(**options):
        install(tmp_path / "site-packages", **options)
        monkeypatch.syspath_prepend(tmp_path / "site-packages")

    yield put
    sys.modules.pop("absolute_error", None)


def test_a_metric_of_another_package_is_a_core_figure(installing, small_workspace, small_index):
    installing()
    reader = Reader(load_model("embedded"), small_index.corpus, Sites.at(HOOK), batch_rows=4)
    dictionary = load_dictionary(small_workspace.run("main") / "dictionary")
    rows = np.array(small_index.corpus.row_ranges["test"])[:8]
    sums = core_sums(reader, {"it": Itself(dictionary)}, torch.zeros(512), rows)["it"]
    found = {figure.name: figure for figure in core_figures(pooled(sums))}
    assert list(found) == [f"core/{name}" for name in METRICS.names()] and METRICS.names()[-1] == "absolute_error"
    x = reader.read(rows).x
    own = found["core/absolute_error"]
    assert own.value == pytest.approx(float((x - dictionary(x)).abs().mean()), rel=1e-5)
    assert own.n == len(x) and own.se > 0 and "counted tokens" in own.definition


@pytest.mark.parametrize("column", ["error", "n", "x", *OF_PREDICTIONS])
def test_a_column_means_one_thing(installing, column):
    installing(column=column)
    with pytest.raises(UserError, match=f"'absolute_error' sums a column '{column}'"):
        token_columns()


def test_sites_have_units_of_their_own_where_a_column_is_squared():
    """Two sites, the second ten times as large: pooled, both count alike, and ten times the scale changes nothing."""
    rng = np.random.default_rng(0)
    sites = []
    for scale in (1.0, 10.0):
        site = {name: rng.random(6) for name in ("n", *token_columns(), *OF_PREDICTIONS)} | {"x": rng.random((6, 3))}
        sites.append(site | {name: site[name] * scale**2 for name in ("error", "square")} | {"x": site["x"] * scale})
    whole = pooled(sites)
    units = [site["square"].sum() / max(1.0, site["n"].sum()) for site in sites]
    expected = sum(site["error"] / unit for site, unit in zip(sites, units, strict=True)) / 2
    np.testing.assert_allclose(whole["error"], expected)
    np.testing.assert_allclose(whole["cosine"], (sites[0]["cosine"] + sites[1]["cosine"]) / 2)
    once_more = sites[1] | {name: sites[1][name] * 100 for name in ("error", "square")} | {"x": sites[1]["x"] * 10}
    again = pooled([sites[0], once_more])
    for name in ("error", "square", "x"):
        np.testing.assert_allclose(again[name], whole[name])
