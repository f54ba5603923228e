"""The page of concepts that are known: it shows what was measured, and what was not."""

from tests.support.probed import FOUND, MARKUP


def test_it_shows_every_measure_and_what_was_not_measured(client):
    shown = client.get("/runs/main/probes").text
    for told in ("0.75", "0.875", "0.969", "gender: female", "0.188", "it cost too little", "too few", "37 cities"):
        assert told in shown, told
    assert MARKUP not in shown and "&lt;b onclick" in shown
    assert "0.625" in client.get("/runs/main/probes?k=1").text


def test_the_record_is_what_the_artifact_holds(client):
    record = client.get("/runs/main/probes.json").json()
    assert record["found"] == FOUND.to_json() and record["ks"] == [1, 5] and record["k"] == 5


def test_the_run_leads_there_and_what_is_not_there_is_told(client):
    assert "/runs/main/probes" in client.get("/runs/main").text
    told = client.get("/runs/main/probes?k=77")
    assert told.status_code == 404 and "one of 1, 5" in told.text
    assert client.get("/runs/nobody/probes").status_code == 404
