"""What features become in wider dictionaries: the page, its picture, and what a feature's page says."""

import re
from html import unescape

import numpy as np
import pytest

from sparselex.atlas.splitting.records import Graph
from sparselex.base.formats import number
from sparselex.server.family_picture import BOX, GAP, family_picture


@pytest.fixture(scope="module")
def graph(workspace) -> Graph:
    """The graph of two dictionaries of the small workspace."""
    return Graph(workspace.run("main") / "splitting")


@pytest.fixture(scope="module")
def latent(graph) -> int:
    """A latent of the first with relatives."""
    return int(graph.latents(0)["children"].argmax())


def test_every_figure_is_on_the_page_beside_chance(client, graph):
    page = unescape(client.get("/runs/main/splitting").text)
    shown = re.sub(r"<[^>]+>", " ", page)
    for figure in graph.found.steps[0].figures:
        assert figure.failure or (number(figure.value, 3) in shown and figure.definition.split(";")[0] in shown)
    for n, times in graph.found.steps[0].spread.items():
        assert f'<th scope="row">{n}</th><td>{times}</td>' in page


def test_a_family_is_a_picture_of_links_and_a_table_of_the_same(client, graph, latent):
    record = client.get(f"/runs/main/splitting.json?level=main&latent={latent}").json()["family"]
    children = graph.children(0, latent)
    assert {one["wide"] for one in record["links"]} == set(children.latent[:14].tolist())
    page = client.get(f"/runs/main/splitting?level=main&latent={latent}").text
    picture = page.split('<svg class="family"')[1].split("</svg>")[0]
    assert picture.count("<path") == len(record["links"]) and picture.count("<rect") == len(record["members"])
    assert f'href="/runs/main/features/{latent}"' in picture and 'class="centre"' in picture
    for one in record["links"]:
        assert f'href="/runs/twin/features/{one["wide"]}"' in picture and f'<td class="value">{one["link"]:.2f}' in page


def test_from_the_wide_side_the_narrow_ones_are_seen(client, graph, latent):
    wide = int(graph.children(0, latent).latent[0])
    record = client.get(f"/runs/main/splitting.json?level=twin&latent={wide}").json()
    assert record["level"] == 1 and latent in {one["narrow"] for one in record["family"]["links"]}


def test_latents_are_found_by_number_by_words_and_by_token(client, graph):
    (found,) = client.get("/runs/main/splitting.json?find=3").json()["listed"]
    assert found["member"]["latent"] == 3
    some = client.get("/runs/main/splitting.json?find=def").json()
    assert some["n_found"] >= len(some["listed"]) > 0
    assert any("def" in one["member"]["words"].lower() for one in some["listed"])
    assert client.get("/runs/main/splitting.json?find=nothing-has-this-name").json()["listed"] == []
    most = client.get("/runs/main/splitting.json?level=main").json()["listed"]
    counts = [one["member"]["n_led"] for one in most]
    assert counts == sorted(counts, reverse=True) and (not counts or counts[0] == graph.latents(0)["led"].max())


def test_a_features_page_names_its_relatives(client, graph, latent):
    said = client.get(f"/runs/main/features/{latent}.json").json()["widths"]
    children = graph.children(0, latent)
    assert said["n_wider"] == len(children.latent) and said["n_narrower"] == 0 and said["narrower_run"] == ""
    assert [one["latent"] for one in said["wider"]] == children.latent[:8].tolist()
    wide = int(children.latent[0])
    other = client.get(f"/runs/twin/features/{wide}.json").json()["widths"]
    assert other["owner"] == "main" and latent in [one["latent"] for one in other["narrower"]]
    assert "In other widths" in client.get(f"/runs/twin/features/{wide}").text
    rare = np.flatnonzero(graph.latents(0)["children"] < 0)
    assert not len(rare) or client.get(f"/runs/main/features/{rare[0]}.json").json()["widths"] is None


def test_what_is_not_there_says_how(client):
    answer = client.get("/runs/twin/splitting")
    assert answer.status_code == 404 and "sparselex analyse splitting" in unescape(answer.text)
    assert client.get("/runs/main/splitting?level=nobody").status_code == 404
    assert client.get("/runs/main/splitting?level=main&latent=999999").status_code == 404


def test_boxes_stand_in_columns_and_lines_join_them():
    """A latent that becomes three, one of which also came of a second; wide ones stand by what they came of."""
    picture = family_picture(
        {0: [7, 9], 1: [3, 1, 2]}, [(0, 7, 1, 0.9), (0, 7, 2, 0.5), (0, 9, 3, 0.6), (0, 9, 2, 0.4)]
    )
    assert [column.x for column in picture.columns] == [0, BOX + GAP]
    height = {(box.level, box.latent): box.y for box in picture.boxes}
    assert height[0, 7] < height[0, 9] and height[1, 1] < height[1, 2] < height[1, 3]
    first = picture.lines[0]
    assert first.path.startswith(f"M{BOX} ") and first.width > picture.lines[1].width and "7 to 1: 0.90" in first.label
    assert picture.width >= 2 * BOX + GAP and family_picture({}, []).boxes == []
