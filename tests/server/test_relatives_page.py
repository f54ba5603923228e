"""Which features are parts of others: the page, its texts and its random sample, and what a feature's page says."""

import re
from html import unescape

import numpy as np
import pytest

from sparselex.atlas.relatives.records import Kin, Relatives
from sparselex.base.formats import number
from sparselex.server.chains import chain


@pytest.fixture(scope="module")
def found(workspace) -> Relatives:
    """The relatives of the small workspace."""
    return Relatives(workspace.run("main") / "relatives")


@pytest.fixture(scope="module")
def kin(found):
    """A pair of them with texts."""
    return found.at(int(np.flatnonzero(found.columns["both"] >= 0)[0]))


def test_every_figure_is_on_the_page_beside_chance(client, found):
    shown = re.sub(r"<[^>]+>", " ", unescape(client.get("/runs/main/relatives").text))
    for figure in found.found.among[0].figures:
        assert figure.failure or (number(figure.value, 3) in shown and figure.definition.split(";")[0] in shown)


def test_two_texts_show_both_latents_on_every_token(client, found, kin, small_index):
    address = f"/runs/main/relatives?latent={kin.narrow}"
    record = client.get(address.replace("?", ".json?")).json()
    (pair,) = [one for one in record["pairs"] if one["kin"]["wide"]["latent"] == kin.wide]
    both, only = pair["texts"]["both"], pair["texts"]["only"]
    assert both["wide"]["value"] and both["narrow"]["value"] and only["wide"]["value"] and not only["narrow"]["value"]
    assert both["wide"]["position"] == both["narrow"]["position"] == kin.both and only["wide"]["position"] == kin.only
    differing, tokens = pair["texts"]["differing"], np.asarray(small_index.corpus.tokens).reshape(-1)
    assert len(differing) == kin.differing and [one["back"] for one in differing if one["tells"]] == [kin.back]
    assert all(tokens[kin.both - one["back"]] != tokens[kin.only - one["back"]] for one in differing)
    page = client.get(address).text
    assert page.count("Only the wider one</h4>") == sum(one["texts"] is not None for one in record["pairs"])
    assert 'data-digit="' in page and 'id="digits"' in page, "activations as digits"
    assert f'href="/runs/main/features/{kin.wide}/at/{kin.only}"' in page, "the full prompt is a link away"


def test_a_chain_leads_from_a_latent_to_wider_and_narrower_ones(client, found, kin):
    record = client.get(f"/runs/main/relatives.json?latent={kin.narrow}").json()["chain"]
    columns = {(one["column"], one["place"]): one["latent"] for one in record["members"]}
    assert columns[0, 0] == kin.narrow and any(column == 1 for column, _ in columns)
    for one in record["links"]:
        narrow, wide = columns[one["column"], one["narrow"]], columns[one["column"] + 1, one["wide"]]
        assert any(found.at(row).wide == wide for row in found.wider(0, narrow).tolist())
    picture = client.get(f"/runs/main/relatives?latent={kin.narrow}").text.split('<svg class="family"')[1]
    picture = picture.split("</svg>")[0]
    assert picture.count("<rect") == len(record["members"]) and picture.count("<path") == len(record["links"])


class Three(Relatives):
    """Three latents in a row: 2 inside 1 inside 0, and so 2 inside 0."""

    def __init__(self):
        pairs = {"narrow": [2, 1, 2], "wide": [1, 0, 0], "narrow_of": [0] * 3, "wide_of": [0] * 3}
        rest = {name: [0.5] * 3 for name in Kin._fields if name not in pairs}
        self.columns = {name: np.array(values) for name, values in {**pairs, **rest}.items()}


def test_a_relative_of_a_relative_stands_a_step_further():
    upwards, middle = chain(Three(), 0, 2), chain(Three(), 0, 1)
    assert upwards.columns == {0: [(0, 2)], 1: [(0, 1)], 2: [(0, 0)]}
    assert [one[:3] for one in upwards.links] == [(0, 0, 0), (1, 0, 0)]
    assert middle.columns == {-1: [(0, 2)], 0: [(0, 1)], 1: [(0, 0)]} and len(middle.links) == 2


def test_what_is_told_best_stands_beside_as_many_drawn_by_a_seed(client):
    first, again, other = (client.get(f"/runs/main/relatives.json?seed={seed}").json() for seed in (1, 1, 2))
    assert first["drawn"] == again["drawn"] and first["next_seed"] == 2
    assert first["n_texts"] <= len(first["drawn"]) or first["drawn"] != other["drawn"]
    assert len(first["drawn"]) >= min(10, len(first["best"]))
    page = client.get("/runs/main/relatives?seed=1").text
    assert "Seed 1." in page and 'href="/runs/main/relatives?seed=2#list"' in page


def test_a_features_page_names_its_relatives(client, found, kin):
    said = client.get(f"/runs/main/features/{kin.narrow}.json").json()["kin"]
    assert said["n_wider"] == len(found.wider(0, kin.narrow)) and said["owner"] == "main"
    assert kin.wide in [one["wide"]["latent"] for one in said["wider"]] or said["n_wider"] > 6
    assert "Narrower and wider relatives" in client.get(f"/runs/main/features/{kin.wide}").text
    alone = set(range(256)) - set(found.columns["narrow"].tolist()) - set(found.columns["wide"].tolist())
    assert client.get(f"/runs/main/features/{min(alone)}.json").json()["kin"] is None


def test_what_is_not_there_says_how(client):
    answer = client.get("/runs/twin/relatives")
    assert answer.status_code == 404 and "sparselex analyse relatives" in unescape(answer.text)
    assert client.get("/runs/main/relatives?of=nobody").status_code == 404
    assert client.get("/runs/main/relatives?latent=999999").status_code == 404
