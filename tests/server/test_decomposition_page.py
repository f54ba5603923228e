"""The page of a decomposition: every figure with its null and its control, and where there is none yet."""

import re
from html import unescape

from sparselex.base.formats import number
from sparselex.parameters.records import components_of, decomposition_of


def test_the_page_says_what_its_record_says(workspace, client):
    found = decomposition_of(workspace.path / "decompositions" / "tms-5-2")
    text = re.sub(r"<[^>]+>", " ", unescape(client.get("/decompositions/tms-5-2").text))
    for one in (*found.matrices, *found.control_matrices):
        assert re.search(rf"{one.name}\s+{one.d_out}\s+{one.d_in}\s+{one.n_components}\s+{one.n_live}", text)
    for figure in found.figures:
        assert figure.failure or (number(figure.value, 3) in text and figure.definition.split(";")[0] in text)
        assert all(number(value) in text for value in figure.controls.values())
    assert client.get("/decompositions/tms-5-2.json").json()["found"] == found.to_json()
    assert "/decompositions/tms-5-2" in client.get("/").text


def test_what_was_not_decomposed_says_how(client):
    answer = client.get("/decompositions/tms-40-10")
    assert answer.status_code == 404 and "sparselex decompose" in answer.text


def test_components_of_a_model_are_listed_and_each_has_a_page(workspace, client):
    folder = workspace.path / "decompositions" / "main-mlp-0"
    found, table = decomposition_of(folder), components_of(folder)
    listed = client.get("/decompositions/main-mlp-0").text
    assert "test split of run" in listed and found.matrices[0].run in listed
    live = [one for one in table.matrices["dense_4h_to_h"] if one.live]
    assert live and all(f"/components/dense_4h_to_h/{one.number}" in listed for one in live)
    one = max(live, key=lambda one: len(one.together))
    address = f"/decompositions/main-mlp-0/components/dense_4h_to_h/{one.number}"
    page, text = client.get(address + ".json").json(), client.get(address).text
    assert page["component"] == one.to_json() and page["feature"] == ""
    assert sum(each["n"] for each in page["ranges"]) == table.n_inputs
    assert "sparselex index" in text and one.together
    for other in one.together:
        assert f"/components/{other.matrix}/{other.number}" in text and number(other.expected, 3) in text


def test_what_is_no_component_is_told(client):
    for address in (
        "main-mlp-0/components/dense_4h_to_h/16",
        "main-mlp-0/components/w/0",
        "tms-5-2/components/embed/0",
    ):
        answer = client.get(f"/decompositions/{address}")
        assert answer.status_code == 404 and "There is no component" in answer.text
    assert client.get("/decompositions/main-mlp-0/components/dense_4h_to_h/03").status_code == 404
