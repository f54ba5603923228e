"""The page of a task: what it shows is what was measured, the picture and the plots are where the numbers say, and what
cannot be shown is told."""

import math
import re
import shutil
from html import unescape

import pytest
from fastapi.testclient import TestClient

from sparselex.base.artifacts import MANIFEST
from sparselex.base.figures import Figure
from sparselex.base.files import write_json
from sparselex.base.formats import number
from sparselex.base.staging import stage
from sparselex.base.workspace import Workspace
from sparselex.evaluate.supervised.records import SUMMARY, SUMMARY_FILE, Edit, Head, Row, Standing, TaskResult, tasks_in
from sparselex.server.app import create_app
from sparselex.server.charts import BASE, LEFT, RIGHT, TOP, WIDTH
from sparselex.server.circuit_picture import LARGEST, circuit_picture
from sparselex.server.opened import OpenWorkspace
from sparselex.server.pages.task import WAYS, task_page
from sparselex.server.task_charts import (
    BARS_LEFT,
    BARS_RIGHT,
    BARS_WIDTH,
    Edits,
    bars,
    by_budget,
    by_removed,
    kinds_of,
)
from tests.server.conftest import OF_TASK

MARKUP = '<b onclick="x()">{{ 7 * 7 }}</b>'


@pytest.fixture(scope="module")
def result(put_to_ioi) -> TaskResult:
    return TaskResult.read(put_to_ioi / "summary")


@pytest.fixture(scope="module")
def opened(workspace) -> OpenWorkspace:
    return OpenWorkspace(workspace)


def figure(value, low=None, high=None, null=None, failure=None) -> Figure:
    words = {"definition": "d", "failure": failure, "n": 9}
    return Figure(name="a/b", value=value, ci_low=low, ci_high=high, null=null, **words)


def row(name="topk", setting="k=2", edits=(), sufficiency=None) -> Row:
    sufficiency = sufficiency or figure(1.0)
    return Row(name=name, setting=setting, n_seeds=1, sufficiency=sufficiency, necessity=figure(1.0), edits=list(edits))


def edit(k, value, removed=0.0, attribute="IO", way="greedy") -> Edit:
    agreement = figure(value) if value is not None else figure(None, failure="no")
    return Edit(attribute=attribute, way=way, k=k, agreement=agreement, removed=removed, n_exchanged=k)


def head(where, role="end", effect=0.5, direct=0.0, **looks) -> Head:
    return Head(hook=where, role=role, effect=effect, estimate=effect, direct=direct, looks_at=looks)


def write(result: TaskResult, folder) -> None:
    """A result as the walk leaves it."""
    with stage(folder / "summary", SUMMARY, OF_TASK, {}) as staging:
        write_json(staging.folder / SUMMARY_FILE, result.to_json())
        staging.finish()


def test_the_record_is_what_was_measured(client, result):
    record = client.get("/tasks/copier.json").json()
    assert record["circuit"] == result.circuit.to_json()
    first = next(one for one in result.tested if one.yardstick)
    assert record["tested"] == first.to_json()
    assert [place["name"] for place in record["places"]] == [one.place.name for one in result.tested]
    assert [place["yardstick"] for place in record["places"]] == [one.yardstick for one in result.tested]
    other = client.get("/tasks/copier.json", params={"place": result.tested[-1].place.name}).json()
    assert other["tested"] == result.tested[-1].to_json()


def test_every_figure_stands_on_the_page_with_its_definition_interval_and_n(client, result):
    for tested in (one for one in result.tested if one.yardstick):
        page = unescape(client.get("/tasks/copier", params={"place": tested.place.name}).text)
        shown = re.sub(r"<[^>]+>", " ", page)
        for one in tested.rows:
            edited = [edit.agreement for edit in one.edits if edit.way in ("greedy", "labels")]
            for meaning in one.meanings:
                edited += [meaning.f1, meaning.n_known, meaning.unions]
            edited += [figure for split in one.splits for figure in split.figures]
            floors = [tested.unedited[edit.attribute] for edit in one.edits]
            for each in (one.sufficiency, one.necessity, *one.causal, *edited, *floors):
                if each.failure is not None:
                    assert each.failure in shown
                    continue
                assert number(each.value, 3) in shown
                assert each.definition.split(";")[0] in shown and f"n {each.n}" in shown
                assert each.ci_low is None or f"{number(each.ci_low, 3)} … {number(each.ci_high, 3)}" in shown


def test_where_there_is_no_yardstick_only_that_is_told(client, result):
    tested = next(one for one in result.tested if not one.yardstick)
    page = unescape(client.get("/tasks/copier", params={"place": tested.place.name}).text)
    assert "No yardstick here" in page and "Test 1" not in page and "Test 2" not in page
    for gate in tested.gates["supervised"]:
        assert gate.name in page and gate.wanted in page
    assert page.count(">✗</span>") == sum(len(tested.failed(name)) for name in tested.gates)


@pytest.mark.parametrize("way", WAYS)
def test_of_each_kind_the_best_sparsity_is_drawn(opened, way):
    page = task_page(opened, "copier", way=way)
    for name, setting in page.drawn.items():
        means = {
            one.setting: sum(edit.agreement.value for edit in one.edits if edit.way == way)
            for one in page.rows
            if one.name == name
        }
        assert means[setting] == max(means.values())
    chosen = task_page(opened, "copier", way=way, setting="k=4")
    assert chosen.drawn == {"topk": "k=4", "frozen decoder": "k=4", "random": "k=4", "pca": "all", "neurons": "all"}
    by_k, removed = chosen.frontiers(chosen.edited[0])
    assert len(by_k.lines) == len(removed.lines) == 5 and all(len(line.marks) == 3 for line in by_k.lines)


def test_a_frontier_is_where_the_numbers_say():
    rows = [
        row(edits=[edit(1, 0.25, 0.1), edit(4, 1.0, 0.5), edit(2, 0.5, 0.2)]),
        row("supervised", "", [edit(2, 0.75, way="labels")]),
    ]
    edits = Edits(rows[:1], rows, "IO", "greedy", figure(0.1, 0.05, 0.2))
    (line,), up = by_budget(edits).lines, lambda share: BASE - (BASE - TOP) * share
    assert [mark.y for mark in line.marks] == pytest.approx([up(0.25), up(0.5), up(1.0)], abs=0.06)
    x = [mark.x for mark in line.marks]
    assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.11), "budgets are on a log scale"
    found = by_removed(edits)
    assert [mark.x for mark in found.lines[0].marks] == pytest.approx(
        [LEFT + (WIDTH - LEFT - RIGHT) * share for share in (0.1, 0.2, 0.5)], abs=0.06
    )
    floor, supervised = found.floor, found.supervised
    assert (floor.at, floor.low, floor.high) == pytest.approx((up(0.1), up(0.05), up(0.2)), abs=0.06)
    assert supervised.at == pytest.approx(up(0.75), abs=0.06)


def test_what_failed_has_no_mark_and_what_lies_beyond_is_at_the_edge():
    edits = Edits([row(edits=[edit(1, None), edit(2, 0.5, -7.0)])], [row()], "IO", "greedy", None)
    found = by_removed(edits)
    assert len(found.lines[0].marks) == 1 and found.lines[0].marks[0].x == LEFT
    assert found.floor is None and found.supervised is None
    assert by_budget(Edits([row()], [row()], "IO", "greedy", None)).lines == []


def test_bars_begin_at_zero_and_end_at_the_value():
    values = [figure(0.5, 0.25, 0.75, 0.1), figure(-0.5), figure(9.0, 8.0, 10.0), figure(None, failure="too small")]
    found = bars([row(setting=f"k={k}", sufficiency=one) for k, one in enumerate(values)], lambda one: one.sufficiency)
    scale = (BARS_WIDTH - BARS_LEFT - BARS_RIGHT) / 2.5  # from -0.5 to 2
    assert [bar.width for bar in found.rows] == pytest.approx([0.5 * scale, 0.5 * scale, 2 * scale, 0], abs=0.11)
    assert [bar.x for bar in found.rows][:2] == pytest.approx([BARS_LEFT + 0.5 * scale, BARS_LEFT], abs=0.06)
    assert found.rows[0].high - found.rows[0].low == pytest.approx(0.5 * scale, abs=0.11)
    assert [bar.value for bar in found.rows] == ["0.50", "−0.50", "9.00", "–"]
    assert found.rows[3].label == "topk k=3: not measured: too small" and "null 0.1" in found.rows[0].label
    assert [tick.label for tick in found.x_ticks] == ["−0.5", "0", "0.5", "1", "1.5", "2"]


def test_kinds_keep_their_colours_and_more_than_six_are_told_apart():
    names = ["supervised", "shuffled labels", *"abcdefgh"]
    kinds = kinds_of([row(name) for name in names for _ in range(2)])
    assert len(set(kinds.values())) == len(names) and kinds["a"] == "k0" and kinds["g"] == "k0 again"


def test_the_picture_shows_every_head_where_it_is():
    heads = [
        head("blocks.3.attn.hook_z:0", effect=0.8, direct=0.6, IO=0.9, S2=0.05, end=0.5),
        head("blocks.1.attn.hook_z:7", effect=0.2, direct=0.01, IO=0.1, S2=0.7),
        head("blocks.1.attn.hook_z:6", "S2", effect=-0.05, S2=0.2, IO=0.3),
        head("blocks.1.attn.hook_v:7", "S2", effect=0.2),
    ]
    found = circuit_picture(heads)
    assert [tick.label for tick in found.roles] == ["IO", "S2", "end"]
    assert [tick.label for tick in found.layers] == ["layer 3", "layer 1"]
    marks = {(mark.name, mark.kind): mark for mark in found.marks}
    writer, teller = marks["3.0", "writes"], marks["1.7", "tells"]
    assert set(found.kinds) == {"writes", "tells", "moves", "value"} and len(found.marks) == len(heads)
    assert writer.y < teller.y, "layers go upwards"
    assert marks["1.6", "moves"].y < marks["1.7", "value"].y, "a value stands beneath outputs of its layer and token"
    assert [mark.name for mark in found.marks if mark.against] == ["1.6"]
    radius = {
        name: float(re.search(r"a([\d.]+)", mark.path)[1]) for (name, _), mark in marks.items() if "a" in mark.path
    }
    assert radius["3.0"] == LARGEST and radius["1.7"] == pytest.approx(LARGEST * math.sqrt(0.2 / 0.8), abs=0.05)
    streams = {tick.label: tick.at for tick in found.roles}
    begins = sorted((float(look.path[1:].split()[0]), look.label, look.width) for look in found.looks)
    assert [(x, label) for x, label, _ in begins] == [
        (streams["IO"], "1.6 looks at IO: 0.30"),
        (streams["IO"], "1.7 looks at IO: 0.10"),
        (streams["IO"], "3.0 looks at IO: 0.90"),
        (streams["S2"], "1.7 looks at S2: 0.70"),
    ], "its own token and what it hardly looks at have no line"
    assert begins[2][2] > begins[0][2] > begins[1][2]
    assert circuit_picture([]) is None


def test_marks_do_not_lie_on_each_other():
    heads = [
        head(f"blocks.{layer}.attn.hook_{part}:{number}", role)
        for layer in (2, 5)
        for part in "zqkv"
        for number in range(5)
        for role in ("IO", "end")
    ]
    found = circuit_picture(heads)
    assert len(found.marks) == len(heads) == len({(mark.x, mark.y) for mark in found.marks})
    assert all(0 < mark.x < found.width and 0 < mark.y < found.base for mark in found.marks)
    for one in found.marks:
        near = [other for other in found.marks if math.dist((one.x, one.y), (other.x, other.y)) < 2.8 * LARGEST]
        assert near == [one]


def test_the_real_circuit_tells_the_head_that_writes(client, result):
    page = client.get("/tasks/copier").text
    writers = [head for head in result.circuit.heads if head.writes]
    writer = max(writers, key=lambda head: abs(head.effect))
    assert {head.corruption for head in writers} == {"names", "repeat"} and len({head.hook for head in writers}) == 1
    assert page.count('<path class="head writes"') == 2, "in the legend, and once in the picture"
    assert all(f"<em>{way}</em>" in page for way in result.circuit.corruptions)
    assert f"effect {writer.effect:.3f}" in page and writer.kind in page
    n_heads = len(result.circuit.heads) + len(result.circuit.below)
    assert page.count('<th scope="row" class="left"><code>') == n_heads + len(result.attention)


def test_scores_of_attention_are_shown_pair_by_pair(client, result):
    page = unescape(client.get("/tasks/copier").text)
    assert [one.role for one in result.attention][-1].count(" less ") == 1
    for one in result.attention:
        assert one.left < 1e-3 and len(one.pairs) == 25
        largest = one.strongest(1)[0]
        assert f"{largest.query} × {largest.key} {largest.mean:.2f}".replace("-", "−") in page.replace("-", "−")
        assert f"{one.head} at {one.at}, {one.role}: every pair" in page


@pytest.mark.parametrize(
    ("address", "status", "said"),
    [
        ("/tasks/none", 404, "one of copier"),
        ("/tasks/..%2f..%2fetc", 404, ""),
        ("/tasks/copier?place=nowhere", 404, "Nothing was tested at 'nowhere'"),
        ("/tasks/copier?setting=k%3D77", 404, "No dictionary at this place was asked for 'k=77'"),
        ("/tasks/copier?way=best", 400, ""),
    ],
)
def test_what_is_not_there_is_told(client, address, status, said):
    answer = client.get(address)
    assert answer.status_code == status and said in unescape(answer.text)


@pytest.fixture
def other(put_to_ioi, tmp_path):
    """A workspace without runs, and a browser of it."""
    workspace = Workspace.create(tmp_path / "w")
    return workspace, TestClient(create_app(workspace), base_url="http://127.0.0.1")


def test_a_workspace_without_tasks_says_what_makes_one(other, put_to_ioi):
    workspace, pages = other
    assert "sparselex evaluate ioi" in pages.get("/tasks/ioi-toy").text and "Tasks" not in pages.get("/").text
    shutil.copytree(put_to_ioi / "circuit", workspace.path / "tasks" / "begun" / "circuit")
    answer = pages.get("/tasks/begun")
    assert answer.status_code == 404 and "was begun and is not finished" in unescape(answer.text)


def test_the_start_page_lists_tasks_and_names_what_is_damaged(other, put_to_ioi, result):
    workspace, pages = other
    for name in ("first", "second"):
        shutil.copytree(put_to_ioi / "summary", workspace.path / "tasks" / name / "summary")
    assert list(tasks_in(workspace.path)) == ["first", "second"]
    (task, _) = pages.get("/index.json").json()["tasks"]
    n_parts = len({(head.hook, head.role) for head in result.circuit.heads})
    assert (task["n_heads"], task["n_places"]) == (n_parts, len(result.tested))
    assert pages.get("/tasks/first.json").json()["others"] == ["second"]
    (workspace.path / "tasks" / "second" / "summary" / SUMMARY_FILE).write_text("{}")
    record = pages.get("/index.json").json()
    assert [task["name"] for task in record["tasks"]] == ["first"] and "second" in record["notices"][0]
    assert pages.get("/tasks/first").status_code == 200 and pages.get("/tasks/second").status_code == 409
    assert (workspace.path / "tasks" / "second" / "summary" / MANIFEST).is_file()


def test_names_of_attributes_and_places_are_text(other, result):
    workspace, pages = other
    tested = next(one for one in result.tested if one.yardstick)
    named = lambda one: one.model_copy(update={"attribute": MARKUP})
    rows = [
        one.model_copy(
            update={"edits": list(map(named, one.edits)), "meanings": list(map(named, one.meanings)), "name": MARKUP}
        )
        for one in tested.rows
    ]
    place = tested.place.model_copy(update={"name": MARKUP})
    unedited = {MARKUP: next(iter(tested.unedited.values()))}
    update = {"rows": rows, "place": place, "undecided": {MARKUP: MARKUP}, "unedited": unedited}
    changed = tested.model_copy(update=update)
    circuit = result.circuit.model_copy(update={"task": MARKUP, "heads": [], "skipped": {MARKUP: 7}})
    write(TaskResult(circuit=circuit, tested=[changed]), workspace.path / "tasks" / "x")
    page = pages.get("/tasks/x", params={"place": MARKUP})
    assert page.status_code == 200 and "<b onclick" not in page.text
    assert unescape(page.text).count(MARKUP) > 20, "as it was written, not what a template makes of it"


def test_a_task_without_places_and_heads_is_a_page_all_the_same(other, result):
    workspace, pages = other
    circuit = result.circuit.model_copy(update={"heads": [], "below": [], "missed": [], "n_candidates": 0})
    write(TaskResult(circuit=circuit, tested=[]), workspace.path / "tasks" / "x")
    page = pages.get("/tasks/x").text
    assert "Places were named" in page and "No place was tested" in page and '<svg class="chart' not in page


def test_a_reader_goes_from_place_to_place_and_chooses_what_is_drawn(browser, address):
    tab = browser.new_page()
    tab.goto(address + "/")
    tab.get_by_role("link", name="copier").click()
    tab.get_by_role("link", name="values at S2").click()
    assert tab.locator("#here").inner_text() == "values at S2"
    tab.get_by_label("exchanged are").select_option("by meaning")
    tab.get_by_label("sparsity").select_option("k=4")
    tab.get_by_role("button", name="Show").click()
    assert "way=by+meaning" in tab.url and "setting=k%3D4" in tab.url
    assert tab.locator("#here").inner_text() == "values at S2"
    opened = tab.locator("#tests td details").first
    opened.locator("summary").click()
    assert "mean logit difference" in opened.locator("p").inner_text()
    tab.close()


@pytest.mark.parametrize("still", [True, False])
def test_latents_of_a_run_that_stand_for_values_lead_to_their_pages(small_workspace, result, tmp_path, still):
    path = tmp_path / "w"
    shutil.copytree(small_workspace.path, path)
    dictionary = OpenWorkspace(Workspace(path)).dictionary_id("main") if still else "another"
    tested = next(one for one in result.tested if one.yardstick)
    standing = [Standing(value=value, latent=n + 3, f1=0.5 + n / 10, null=0.1) for n, value in enumerate("ab")]
    trained = next(row for row in tested.rows if row.meanings)
    meanings = [trained.meanings[0].model_copy(update={"latents": standing})]
    about = {"name": "run main", "setting": "", "run": "main", "dictionary": dictionary, "meanings": meanings}
    rows = [*tested.rows, trained.model_copy(update=about)]
    others = [one.model_copy(update={"rows": rows}) if one is tested else one for one in result.tested]
    write(result.model_copy(update={"tested": others}), path / "tasks" / "mine")
    client = TestClient(create_app(Workspace(path)), base_url="http://127.0.0.1")
    page = unescape(client.get("/tasks/mine").text)
    assert "Latents of run main" in page and ("0.60" in page and "(0.10)" in page)
    assert ('href="/runs/main/features/4">4</a>' in page) is still
    assert ("The run has another dictionary now" in page) is not still
