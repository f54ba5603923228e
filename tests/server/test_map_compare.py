"""The map and the comparison: as records, in a real browser by keyboard and pointer, and what they refuse."""

import re
import shutil
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from sparselex.atlas.config import CompareConfig
from sparselex.base.workspace import Workspace
from sparselex.explain.records import Explanation
from sparselex.explain.store import ExplanationStore
from sparselex.recipes.comparing import compare_with
from sparselex.recipes.run import Run
from sparselex.server.app import create_app, server_of
from sparselex.server.opened import OpenWorkspace
from sparselex.server.pages.area import area_of
from sparselex.server.pages.map import map_page, open_map

MARKUP = '<script>alert("x")</script> {{ 7 * 7 }} <b>bold</b>'


@pytest.fixture(scope="module")
def laid_out(small_workspace, tmp_path_factory) -> Workspace:
    """A copy of the small workspace with a map and a comparison, and a title that is markup."""
    path = tmp_path_factory.mktemp("maps") / "w"
    shutil.copytree(small_workspace.path, path)
    workspace = Workspace(path)
    index = workspace.artifacts("main")["index"].id
    said = Explanation(latent=2, explainer="rule", status="explained", title=MARKUP, text=MARKUP, predictor=None)
    ExplanationStore(workspace.database).add(index, "c", [said])
    Run.open(workspace, "main").do("map", layout="pca", least_cluster=3)
    compare_with(workspace, "main", "twin", CompareConfig(n_tokens=3000, least_active=5))
    return workspace


@pytest.fixture(scope="module")
def pages(laid_out) -> TestClient:
    return TestClient(create_app(laid_out), base_url="http://127.0.0.1")


@pytest.fixture(scope="module")
def served(laid_out):
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    server = server_of(create_app(laid_out))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()


def test_the_points_are_the_places_with_their_steps(laid_out, pages):
    opened = OpenWorkspace(laid_out)
    found = open_map(opened, "main").map
    answer = pages.get("/runs/main/map/points?color=density&q=density<0.01")
    body, n = answer.content, len(found.latents)
    assert answer.status_code == 200 and len(body) == 4 + 15 * n
    assert np.frombuffer(body, "<u4", 1)[0] == n
    assert np.array_equal(np.frombuffer(body, "<i4", n, 4), found.latents)
    assert np.array_equal(np.frombuffer(body, "<f4", n, 4 + 4 * n), found.places[:, 0])
    assert np.array_equal(np.frombuffer(body, "<f4", n, 4 + 8 * n), found.places[:, 1])
    density = opened.index("main").index.table["density"][found.latents]
    assert np.array_equal(
        np.frombuffer(body, "u1", n, 4 + 12 * n), 1 + np.searchsorted([1e-4, 1e-3, 1e-2, 0.1], density, "right")
    )
    assert np.array_equal(np.frombuffer(body, "u1", n, 4 + 14 * n), density < 0.01)


@pytest.mark.parametrize("color", ["density", "score", "cluster", "effect", "max"])
def test_the_table_is_what_the_view_holds(laid_out, pages, color):
    found = open_map(OpenWorkspace(laid_out), "main").map
    x, y = found.places.T
    edges = {"x0": float(np.median(x)), "y0": -9, "x1": 9, "y1": float(np.quantile(y, 0.8))}
    record = pages.get("/runs/main/map.json", params={"color": color} | edges).json()
    inside = (x >= edges["x0"]) & (y <= edges["y1"])
    assert record["n_found"] == inside.sum() > 25 == len(record["rows"])
    last = pages.get("/runs/main/map.json", params={"color": color, "page": 10**6} | edges).json()
    assert last["page"] == last["n_pages"] == -(-int(inside.sum()) // 25)
    assert {row["latent"] for row in record["rows"]} <= set(found.latents[inside].tolist())
    assert sum(step["n"] for step in record["steps"]) == (0 if color == "cluster" else len(found.latents))


def test_a_selection_is_a_rectangle_a_lasso_or_a_cluster():
    rng = np.random.default_rng(0)
    places, cluster = rng.uniform(-1, 1, (500, 2)).astype(np.float32), np.arange(500, dtype=np.int32) % 4 - 1
    x, y = places.T
    box = area_of("0.5,0.25,-0.5,-0.25").holds(places, cluster)
    assert np.array_equal(box, (np.abs(x) < 0.5) & (np.abs(y) < 0.25)) and box.any()
    triangle = area_of("-1,-1,1,-1,-1,1").holds(places, cluster)
    assert np.array_equal(triangle, x + y < 0)
    assert np.array_equal(area_of("cluster:2").holds(places, cluster), cluster == 2)
    assert area_of("").holds(places, cluster).all()


def test_the_neighbourhood_of_a_latent(laid_out, pages):
    record = pages.get("/runs/main/map.json?near=5&focus=5").json()
    neighbours = OpenWorkspace(laid_out).index("main").index.record(5).neighbours
    assert record["nearest"] == [one.latent for one in neighbours]
    placed = [
        latent for latent in record["nearest"] if open_map(OpenWorkspace(laid_out), "main").map.row(latent) is not None
    ]
    assert placed and [row["latent"] for row in record["rows"][: 1 + len(placed)]] == [5, *placed]
    assert record["rows"][1]["cosine"] == pytest.approx({one.latent: one.cosine for one in neighbours}[placed[0]])
    assert record["view"]["x0"] < record["focus"]["x"] < record["view"]["x1"] and record["focus"]["examples"]


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/runs/main/map?focus=999999", 404),
        ("/runs/main/map?near=-1", 404),
        ("/runs/main/map?near=%00", 404),
        ("/runs/main/map?x0=nan&y0=0&x1=1&y1=1", 400),
        ("/runs/main/map?x0=1e300", 400),
        ("/runs/main/map?color=red", 400),
        ("/runs/main/map?sel=1,2", 400),
        ("/runs/main/map?sel=cluster:-1", 400),
        ("/runs/main/map?sel=" + "1,2," * 300 + "1,2", 400),
        ("/runs/main/map?sel=" + "9" * 6001, 400),
        ("/runs/main/map?page=0", 400),
        ("/runs/main/map?q=" + "x" * 2001, 400),
        ("/runs/main/map/latents/999999", 404),
        ("/runs/main/map/points?color=red", 400),
        ("/runs/nobody/map", 404),
        ("/runs/..%2f..%2fetc/map", 404),
        ("/runs/twin/map", 200),
        ("/runs/twin/map/points", 404),
        ("/runs/main/compare/nobody", 404),
        ("/runs/main/compare/main", 404),
        ("/runs/nobody/compare", 404),
        ("/runs/main/compare/twin?left=999999", 404),
        ("/runs/main/compare/twin?right=x", 404),
        ("/runs/main/compare/twin?show=all", 400),
        ("/runs/main/compare/twin?measure=size", 400),
        ("/runs/main/compare/twin?measure=cosine&page=999999999", 200),
    ],
)
def test_impossible_addresses_are_told(pages, address, status):
    for form in (address, address.replace("?", ".json?", 1) if "?" in address else f"{address}.json"):
        assert pages.get(form).status_code == status, form


def test_what_is_missing_names_its_command(laid_out, pages, tmp_path):
    assert f"sparselex map {laid_out.typed} --run twin" in pages.get("/runs/twin/map").text
    again = tmp_path / "w"
    shutil.copytree(laid_out.path, again)
    shutil.rmtree(again / "runs" / "main" / "compare-twin")
    client = TestClient(create_app(Workspace(again)), base_url="http://127.0.0.1")
    for address in ("/runs/main/compare", "/runs/main/compare/twin"):
        assert re.search(r"sparselex compare \S+ --run main --with twin", client.get(address).text), address


@pytest.mark.parametrize("show", ["pairs", "a", "b", "parts-a", "parts-b"])
def test_both_ways_round_a_comparison_lists_the_same(pages, show):
    there = pages.get(f"/runs/main/compare/twin.json?show={show}").json()
    mirror = {"a": "b", "b": "a", "parts-a": "parts-b", "parts-b": "parts-a"}.get(show, show)
    back = pages.get(f"/runs/twin/compare/main.json?show={mirror}").json()
    assert there["n_found"] == back["n_found"] and there["measure"] == "correlation"
    pairs = {(row["own"]["latent"], row["other"]["latent"]) for row in there["pairs"] if row["other"]}
    turned = {(row["own"]["latent"], row["other"]["latent"]) for row in back["pairs"] if row["other"]}
    assert (pairs if show != "pairs" else {(b, a) for a, b in pairs}) == turned
    values = [row["value"] for row in there["pairs"]]
    assert values == sorted(values, reverse=True)
    assert pages.get(f"/runs/main/compare/twin?show={show}").status_code == 200


def test_a_comparison_shows_two_features_and_both_evaluations(pages):
    record = pages.get("/runs/main/compare/twin.json?left=5&right=7").json()
    assert (record["left"]["brief"]["latent"], record["right"]["brief"]["latent"]) == (5, 7)
    assert record["left"]["run"] == "main" and record["right"]["examples"]
    assert {"core/l0", "core/fvu"} <= {row["name"] for row in record["figures"]}
    assert len(record["drawn"]) > 20 and all(-1 <= value <= 1 for _, _, value, _ in record["drawn"])


def test_markup_in_titles_is_text(pages):
    for address in ("/runs/main/map?focus=2&q=script", "/runs/main/compare/twin?left=2", "/runs/main/map?q=%3Cb%3Ex"):
        page = pages.get(address).text
        assert "<script>alert" not in page and "<b>x" not in page and " 49 " not in page
        assert "alert(&#34;x&#34;)" in page or "&lt;b&gt;x" in page
    assert pages.get("/runs/main/map/latents/2.json").json()["words"] == MARKUP


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_map_in_a_browser_by_keyboard_and_pointer(browser, served, scheme):
    tab = browser.new_page(color_scheme=scheme, viewport={"width": 1200, "height": 900})
    complaints, hosts = [], set()
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    tab.goto(served + "/runs/main/map?color=max")
    tab.wait_for_selector("#map[data-ready]")
    colours = tab.evaluate("""() => { const map = document.getElementById("map");
        const found = new Uint32Array(map.getContext("2d").getImageData(0, 0, map.width, map.height).data.buffer);
        return new Set(found).size; }""")
    assert colours >= 6, "places in the colours of the legend"
    tab.focus("#map")
    tab.keyboard.press("ArrowRight")
    tab.locator("#pointed", has_text="active on").wait_for()
    latent = tab.inner_text("#pointed").split()[0]
    tab.keyboard.press("Enter")
    tab.wait_for_url(f"**focus={latent}*")
    tab.wait_for_selector(f"#focus a[href$='/features/{latent}'] >> visible=true")
    assert tab.evaluate("document.activeElement.id") == "map"
    everything = tab.inner_text("#selected-head")
    for _ in range(4):
        tab.keyboard.press("+")
    tab.wait_for_url("**x0=*")
    tab.locator("#selected-head").filter(has_not_text=everything).wait_for()
    here, head = tab.url, tab.inner_text("#selected-head")
    tab.goto(here)
    assert tab.inner_text("#selected-head") == head, "a copied address shows the same"
    tab.goto(served + "/runs/main/map")
    tab.wait_for_selector("#map[data-ready]")
    area = tab.locator("#map").bounding_box()
    for tool, turns in (("rectangle", [(0.7, 0.7)]), ("lasso", [(0.7, 0.35), (0.7, 0.7), (0.4, 0.7)])):
        tab.click(f"[data-tool={tool}][type]")
        tab.mouse.move(area["x"] + area["width"] * 0.35, area["y"] + area["height"] * 0.35)
        tab.mouse.down()
        for x, y in turns:
            tab.mouse.move(area["x"] + area["width"] * x, area["y"] + area["height"] * y, steps=4)
        tab.mouse.up()
        tab.locator("#selected-head", has_text="Selected").wait_for()
        assert "sel=" in tab.url
        tab.focus("#map")
        tab.keyboard.press("Escape")
        tab.locator("#selected-head", has_text="In view").wait_for()
    tab.goto(served + "/runs/main/map?focus=2")
    assert tab.locator("main script").count() == 0 and "<script>" in tab.inner_text("#focus")
    assert complaints == [] and hosts == {served.removeprefix("http://")}
    tab.close()


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "width"), [("light", 1360), ("dark", 400)])
def test_a_comparison_in_a_browser(browser, served, scheme, width):
    tab = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
    complaints = []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.goto(served + "/runs/main/compare")
    tab.locator("main").get_by_role("link", name="twin").focus()
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/runs/main/compare/twin")
    tab.get_by_role("link", name="side by side").first.focus()
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#beside .examples")
    assert tab.locator("#beside section").count() == 2
    for address in ("/runs/main/compare/twin?show=parts-b", "/runs/main/map?near=5&focus=5", "/runs/main/compare"):
        tab.goto(served + address)
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), address
    assert complaints == []
    tab.close()


def test_a_view_by_the_builder_is_what_the_address_gives(laid_out, pages):
    built = map_page(OpenWorkspace(laid_out), "main", color="score", q="density<0.05", focus=3)
    assert built.to_json() == pages.get("/runs/main/map.json?color=score&q=density<0.05&focus=3").json()
    assert Path(laid_out.run("main") / "map" / "map.parquet").is_file()
