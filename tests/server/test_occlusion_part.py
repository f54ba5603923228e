"""The occlusion sweep on the page of a task: every figure, lines where the numbers say, and why there is none."""

import re
import shutil
from html import unescape

import pytest
from fastapi.testclient import TestClient

from sparselex.base.formats import number
from sparselex.base.workspace import Workspace
from sparselex.evaluate.occlusion.config import occlusion_config
from sparselex.evaluate.occlusion.occlude import occlude
from sparselex.evaluate.occlusion.records import STRONG, sweeps_of
from sparselex.evaluate.supervised.walk import put_to_task
from sparselex.server.app import create_app
from sparselex.server.charts import BASE, TOP
from sparselex.server.occlusion_charts import lines_of, occlusion_chart
from tests.server.conftest import OF_TASK
from tests.support.copier import copier, task

PLACES = ("blocks.0.hook_resid_post@end", "blocks.0.attn.hook_v:0@IO")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A workspace with a task and its sweeps."""
    path = tmp_path_factory.mktemp("swept")
    workspace = Workspace.create(path / "w")
    config = OF_TASK.model_copy(update={"places": PLACES, "l0s": (2,)})
    model, to = copier(path / "model"), workspace.path / "tasks" / "copier"
    put_to_task(model, task(), config, to)
    few = {"alphas": (0.0, 0.5, 1.0), "kinds": ("topk",)}
    occlude(model, task(), occlusion_config(config).model_copy(update=few), to)
    return workspace, sweeps_of(to)


@pytest.fixture(scope="module")
def pages(swept):
    return TestClient(create_app(swept[0]), base_url="http://127.0.0.1")


def test_every_figure_of_the_sweep_is_on_the_page(pages, swept):
    (one,) = swept[1].found
    page = unescape(pages.get("/tasks/copier", params={"place": PLACES[0]}).text)
    shown = re.sub(r"<[^>]+>", " ", page)
    assert "Whether dictionaries miss S because IO is stronger" in shown and "decided by IO alone" in shown
    for row in one.rows:
        points = [figure for point in row.points for figure in (point.weak,)]
        strong = [point.strong for point in row.of(STRONG)]
        for figure in (*points, *strong, row.weak_slope, row.weak_excess, row.strong_slope):
            assert number(figure.value, 3) in shown and figure.definition.split(";")[0] in shown
    record = pages.get("/tasks/copier.json", params={"place": PLACES[0]}).json()
    assert record["occlusion"] == one.to_json() and record["not_swept"] == ""


def test_lines_are_where_the_numbers_say(swept):
    (one,) = swept[1].found
    for row in one.rows:
        chart = occlusion_chart(row)
        assert [line.kind for line in chart.lines] == [*lines_of(one)]
        up = [BASE - (BASE - TOP) * point.weak.value for point in row.of(STRONG)]
        assert [mark.y for mark in chart.lines[0].marks] == pytest.approx(up, abs=0.06)
        x = [mark.x for mark in chart.lines[0].marks]
        assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.2)
        assert [tick.label for tick in chart.x_ticks] == ["0", "0.5", "1"]


def test_a_place_without_a_sweep_says_why(pages, swept):
    page = unescape(pages.get("/tasks/copier", params={"place": PLACES[1]}).text)
    assert swept[1].left_out[PLACES[1]] in page


def test_a_task_without_sweeps_has_no_such_part(pages, swept):
    tasks = swept[0].path / "tasks"
    shutil.copytree(tasks / "copier", tasks / "bare", ignore=shutil.ignore_patterns("occlusion"))
    assert "Occlusion" not in pages.get("/tasks/bare").text and "Occlusion" in pages.get("/tasks/copier").text
