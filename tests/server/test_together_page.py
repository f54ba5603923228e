"""Several dictionaries on one map: the page, its picture, and what is refused."""

import re
import shutil
from html import unescape

import numpy as np
import pytest
from fastapi.testclient import TestClient

from sparselex.atlas.maps.together import JointMap
from sparselex.base.workspace import Workspace
from sparselex.evaluate.gathered import gather
from sparselex.recipes.run import Run
from sparselex.server.app import create_app
from sparselex.server.pages import together

HERE = "/runs/twin/map/together"


@pytest.fixture(scope="module")
def one(workspace) -> JointMap:
    return JointMap(workspace.run("twin") / "map")


def picture(page: str) -> str:
    return page.split('<svg class="together"')[1].split("</svg>")[0]


def test_every_latent_is_a_mark_that_leads_to_its_page(client, one):
    page = client.get(HERE).text
    drawn = re.findall(r'href="/runs/(\w+)/features/(\d+)"[^>]*><use href="#mark-(\d)"', picture(page))
    names = ["main", "twin"]
    assert {(names.index(run), int(latent)) for run, latent, _ in drawn} == set(
        zip(one.run.tolist(), one.latents.tolist(), strict=True)
    )
    assert {(run, shape) for run, _, shape in drawn} == {("main", "0"), ("twin", "1")}, "told by shape too"
    shown = re.sub(r"<[^>]+>", " ", unescape(page))
    assert all(figure.definition.split(";")[0] in shown for figure in one.found.figures)


def test_the_list_is_of_clusters_and_what_is_in_none_in_the_order_of_likeness(client, one):
    lines, number = [], 1
    while len(lines) < (record := client.get(f"{HERE}.json?page={number}").json())["n_found"]:
        lines += record["entries"]
        number += 1
    assert len(lines) == len(one.found.clusters) + one.found.n_alone
    places = []
    for line in lines:
        row = one.row(line["point"]["run"], line["point"]["latent"])
        places.append(int(one.place[row]))
        assert (line["cluster"] is None) == (one.cluster[row] < 0)
    assert places == sorted(places)
    by_size = client.get(f"{HERE}.json?order=size").json()["entries"]
    assert [line["cluster"]["number"] for line in by_size] == list(range(len(by_size)))


def test_a_cluster_shows_its_latents_and_a_latent_those_beside_it(client, one):
    record = client.get(f"{HERE}.json?cluster=0").json()
    members = {(member["run"], member["latent"]) for member in record["members"]}
    rows = np.flatnonzero(one.cluster == 0)
    assert record["n_found"] == len(rows) and len(members) == min(len(rows), together.PER_PAGE)
    assert members <= {(int(one.run[row]), int(one.latents[row])) for row in rows}
    latent = int(one.latents[one.run == 0][3])
    near = client.get(f"{HERE}.json?of=main&latent={latent}").json()
    assert near["members"][0] == near["near"] and near["near"]["latent"] == latent and near["near"]["run"] == 0
    assert 'class="ring"' in picture(client.get(f"{HERE}?of=main&latent={latent}").text)


def test_of_many_latents_small_dictionaries_are_drawn_whole():
    run = np.repeat([0, 1, 2], [10, 400, 3000]).astype(np.int8)
    rows = together._thinned(run, np.arange(len(run)), 300)
    assert np.bincount(run[rows]).tolist() == [10, 145, 145]
    assert together._thinned(run, np.arange(20), 300).tolist() == list(range(20))


def test_the_runs_own_map_leads_to_it(client):
    page = client.get("/runs/twin/map").text
    assert f'href="{HERE}"' in page and "main lie on the same map" in page


def test_what_is_refused(client):
    assert client.get(f"{HERE}?cluster=99999").status_code == 404
    assert client.get(f"{HERE}?of=nobody&latent=3").status_code == 404
    alone = client.get("/runs/main/map/together")
    assert alone.status_code == 404 and "--others" in unescape(alone.text)


def test_of_another_index_than_it_was_made_of_it_is_not_shown(workspace, tmp_path):
    shutil.copytree(workspace.path, tmp_path / "w", ignore=shutil.ignore_patterns("*.partial"))
    copy = Workspace(tmp_path / "w")
    assert [one.name for one in gather(copy, "twin").figures if one.name.startswith("map/")]
    Run.open(copy, "main").do("index", n_top=7, replace=True)
    found = gather(copy, "twin")
    assert not [one.name for one in found.figures if one.name.startswith("map/")] and "run 'main'" in found.stale["map"]
    pages = TestClient(create_app(copy), base_url="http://127.0.0.1")
    assert pages.get(HERE).status_code == 404 and pages.get("/runs/twin/map").status_code == 200
