"""The page of a decomposition: every figure with its null and its control, and where there is none yet."""

import re
from html import unescape

from sparselex.base.formats import number
from sparselex.parameters.records import decomposition_of


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
