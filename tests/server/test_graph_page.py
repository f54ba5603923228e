"""The page of an attribution graph: nodes, their edges, pins and groups in the address, the way to a feature."""

import itertools
import json
import shutil
import socket
import threading

import pytest
from fastapi.testclient import TestClient

from sparselex.base.artifacts import read_manifest
from sparselex.base.workspace import Workspace
from sparselex.evaluate.graphs.records import Node, graph_of
from sparselex.explain.records import Explanation
from sparselex.explain.store import ExplanationStore
from sparselex.server.app import create_app, server_of
from sparselex.server.graph_picture import graph_picture, shown
from sparselex.server.graph_state import GraphState, between
from tests.support.command import done
from tests.support.graphs import PROMPT


@pytest.fixture(scope="module")
def client(traced) -> TestClient:
    return TestClient(create_app(traced), base_url="http://127.0.0.1")


@pytest.fixture(scope="module")
def graph(traced):
    return graph_of(traced.path, "prompt")


@pytest.fixture(scope="module")
def ids(graph):
    return [node.id for node in sorted(graph.nodes, key=lambda node: -node.influence) if node.kind == "feature"]


def test_the_overview_leads_to_it(client):
    assert '<a href="/graphs/prompt">prompt</a>' in client.get("/").text


def test_the_page_is_its_record(client, graph):
    page = client.get("/graphs/prompt.json").json()
    assert page["graph"] == graph.to_json() and page["at"] is None and page["pinned"] == []
    text = client.get("/graphs/prompt").text
    assert (
        "replacement" in text
        and "another target" in text
        and text.count('class="node feature') == len([node for node in graph.nodes if node.kind == "feature"])
    )


def test_a_node_that_is_looked_at_shows_its_edges_and_leads_to_its_feature(client, graph, ids):
    page = client.get("/graphs/prompt.json", params={"at": ids[0]}).json()
    number = [node.id for node in graph.nodes].index(ids[0])
    node = graph.nodes[number]
    assert page["at"]["address"] == f"/runs/main/features/{node.latent}"
    assert client.get(page["at"]["address"]).status_code == 200
    into = [weight for _, target, weight in graph.edges if target == number]
    assert [edge["weight"] for edge in page["to"]] == into[:20] == sorted(into, key=abs, reverse=True)[:20]
    onwards = [weight for source, _, weight in graph.edges if source == number]
    assert [edge["weight"] for edge in page["onwards"]] == onwards[:20]


def test_pins_and_groups_stand_in_the_address(client, ids):
    first, second, third = ids[:3]
    state = {"at": first, "pin": f"{first},{second},nobody", "group": f"late:{third};empty:nobody"}
    page = client.get("/graphs/prompt.json", params=state).json()
    assert [node["id"] for node in page["pinned"]] == [first, second]
    assert page["state"]["groups"] == {"late": [third]}
    called = client.get("/graphs/prompt", params=state | {"call": "my; group"}, follow_redirects=False)
    assert called.is_redirect
    page = client.get(called.headers["location"].replace("/graphs/prompt?", "/graphs/prompt.json?")).json()
    assert page["state"]["groups"] == {"late": [third], "my group": [first, second]} and page["pinned"] == []


def test_edges_between_groups_add_up(graph, ids):
    inputs = [node.id for node in graph.nodes if node.kind == "input"]
    outputs = [node.id for node in graph.nodes if node.kind == "output"]
    state = GraphState(groups={"in": inputs, "out": outputs}, pins=ids[:1])
    found = {(source, target): weight for source, target, weight in between(graph, state.owners())}
    kinds = [node.kind for node in graph.nodes]
    expected = sum(w for a, b, w in graph.edges if kinds[a] == "input" and kinds[b] == "output")
    assert found["in", "out"] == pytest.approx(expected)
    assert not any(target == "in" for _, target in found)
    assert "in%3A" in state.query() and "in%3A" not in state.dissolved("in")


def test_a_group_called_like_a_node_is_not_the_node(graph, ids):
    first, second, third = ids[:3]
    state = GraphState.of(graph, "", first, f"{first}:{second},{third};{'x' * 6000}:{second}")
    assert list(state.groups) == [f"group {first}", "x" * 40]
    assert set(state.owners().values()) == {first, f"group {first}", "x" * 40}


def test_the_file_has_what_is_pinned_and_grouped(client, ids):
    answer = client.get("/graphs/prompt/circuit-tracer", params={"pin": ids[0], "group": f"late:{ids[1]}"})
    assert answer.headers["content-disposition"].endswith('filename="prompt.json"')
    values = json.loads(answer.content)["qParams"]
    assert values["pinnedIds"] == ids[:2] and values["supernodes"] == [["late", ids[1]]]


def test_the_file_says_of_features_what_is_said_of_them_of_the_page_and_of_the_command(traced, graph, tmp_path):
    copy = Workspace(shutil.copytree(traced.path, tmp_path / "w"))
    latent = next(node.latent for node in graph.nodes if node.kind == "feature")
    said = Explanation(latent=latent, explainer="a", status="explained", text="words", title="a kind of words")
    index = read_manifest(copy.run("main") / "index")
    ExplanationStore(copy.database).add(index.id, "c", [said])
    client = TestClient(create_app(copy), base_url="http://127.0.0.1")
    assert "a kind of words" in client.get("/graphs/prompt").text
    asked = ("--as", "prompt", "--prompt", PROMPT, "--node-share", 0.98, "--n-checked", 4)
    done("graph", copy.path, *asked, "--export", tmp_path / "graph.json")
    exported = json.loads((tmp_path / "graph.json").read_text())
    for values in (client.get("/graphs/prompt/circuit-tracer").json(), exported):
        labels = {node["node_id"]: node["clerp"] for node in values["nodes"]}
        labelled = {node.id for node in graph.nodes if node.kind == "feature" and node.latent == latent}
        assert {name for name, label in labels.items() if label == "a kind of words"} == labelled
        assert all(not labels[node.id] for node in graph.nodes if node.kind == "feature" and node.id not in labelled)


def test_what_is_no_graph_is_told(client):
    answer = client.get("/graphs/nobody")
    assert answer.status_code == 404 and "sparselex graph" in answer.text
    assert client.get("/graphs/..%2Fruns").status_code == 404


def test_of_another_dictionary_no_feature_is_linked(workspace):
    page = TestClient(create_app(workspace), base_url="http://127.0.0.1").get("/graphs/prompt.json").json()
    assert page["changed"] == ["main"] and not any(node["address"] for node in page["nodes"])


def test_without_an_index_too_another_dictionary_is_told_and_one_that_is_gone(traced, small_workspace, tmp_path):
    copy = Workspace(shutil.copytree(traced.path, tmp_path / "w"))
    page = lambda: TestClient(create_app(copy), base_url="http://127.0.0.1").get("/graphs/prompt")
    run = copy.run("main")
    shutil.rmtree(run / "index")
    assert 'class="notice"' not in page().text and "/features/" not in page().text
    shutil.rmtree(run / "dictionary")
    shutil.copytree(small_workspace.run("main") / "dictionary", run / "dictionary")
    assert "Run main has another dictionary now" in page().text
    shutil.rmtree(run / "dictionary")
    assert "Run main has no dictionary any more" in page().text
    shutil.rmtree(run)
    assert "Run main has no dictionary any more" in page().text


def test_every_node_has_a_place_of_its_own_and_drawn_edges_end_at_nodes(graph):
    picture = graph_picture(graph, None, [])
    places = {(mark.x, mark.y) for mark in picture.marks}
    assert len(places) == len(graph.nodes) and 0 < len(picture.lines) <= 120
    assert all(0 < x < picture.width and 0 < y < picture.height for x, y in places)
    for line in picture.lines:
        x, y = map(float, line.path[1:].partition("C")[0].split())
        assert (x, y) in places
    number = next(n for n, node in enumerate(graph.nodes) if node.kind == "output")
    own = graph_picture(graph, number, [])
    assert len(own.lines) == min(60, sum(number in edge[:2] for edge in graph.edges))
    assert shown(" a\n") == "·a⏎"


def test_labels_of_tokens_do_not_overlap(graph):
    texts = ["<|endoftext|>", "def", "<|endoftext|>", "函数函数函数函数函数", "x"]
    lone = lambda position: Node(kind="input", layer=0, position=position, token=1, text="x")
    narrow = graph.model_copy(update={"texts": texts, "nodes": [*map(lone, range(5))], "edges": []})
    picture = graph_picture(narrow, None, [])
    wide = [9.0 * len(label.words) if "函" in label.words else 5.5 * len(label.words) for label in picture.tokens]
    ends = [(label.x - width / 2, label.x + width / 2) for label, width in zip(picture.tokens, wide, strict=True)]
    assert all(before[1] < after[0] for before, after in itertools.pairwise(ends)) and ends[-1][1] < picture.width
    assert [mark.x for mark in picture.marks] == [label.x for label in picture.tokens]


def test_outputs_are_listed_with_their_probability(client, graph):
    text = client.get("/graphs/prompt").text
    likeliest = max(graph.nodes, key=lambda node: node.probability or 0)
    assert f"<td>p = {likeliest.probability:.3f}</td>" in text and "of the model embedded" in text


@pytest.fixture(scope="module")
def served(traced):
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    server = server_of(create_app(traced))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.mark.slow
def test_in_a_browser_nodes_are_chosen_pinned_and_grouped_by_keys_and_by_hand(browser, served, ids):
    tab = browser.new_page()
    tab.goto(served + "/graphs/prompt")
    tab.evaluate("window.kept = true")  # the page is not loaded again
    tab.locator(f'svg [data-node="{ids[0]}"]').click()
    tab.wait_for_url(f"**at={ids[0]}*")
    assert tab.locator("#node h3").count() >= 2 and tab.locator("svg .edge").count() > 0
    tab.locator(f'svg [data-node="{ids[0]}"]').focus()
    tab.keyboard.press("p")
    tab.wait_for_url(f"**pin={ids[0]}*")
    assert tab.locator("svg .node.pinned").count() == 1
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("Enter")
    tab.locator("svg .node.at:not(.feature)").wait_for(state="attached")
    assert tab.evaluate("window.kept") is True
    tab.go_back()
    tab.locator(f'svg .node.at[data-node="{ids[0]}"]').wait_for(state="attached")
    tab.locator('input[name="call"]').fill("late")
    tab.locator("form.finding button").click()
    tab.wait_for_url("**group=late*")
    assert "late" in tab.locator("ul.pins").inner_text()
    tab.locator("#node p a").first.click()
    tab.wait_for_url("**/runs/main/features/*")
    tab.close()
