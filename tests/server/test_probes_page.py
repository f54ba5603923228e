"""The page of concepts that are known: it shows what was measured, and what was not."""

import pytest
from fastapi.testclient import TestClient

from sparselex.base.figures import Failure, Figure, Figures
from sparselex.base.files import write_json
from sparselex.base.staging import stage
from sparselex.base.workspace import Workspace
from sparselex.evaluate.probes.config import ProbesConfig
from sparselex.evaluate.probes.records import (
    DENSE,
    FILE,
    KIND,
    AblationRow,
    Ablations,
    Concept,
    Probed,
    ProbeRow,
    Ravel,
    RavelRow,
)
from sparselex.server.app import create_app
from tests.support.small import small_run

MARKUP = '<b onclick="x()">'


def figure(value, null=None) -> Figure:
    return Figure(name="probes/a", value=value, ci_low=value - 0.125, ci_high=value, null=null, n=7, definition="said")


def row(name, k, value) -> ProbeRow:
    return ProbeRow(name=name, k=k, auroc=figure(value, 0.5), accuracy=figure(value), f1=figure(value))


FOUND = Probed(
    concepts=[
        Concept(
            texts="people",
            name="gender: female",
            n_fit=10,
            n_test=11,
            majority=0.5,
            rows=[row("latents", 1, 0.625), row("latents", 5, 0.75), row("neurons", 5, 0.875), row(DENSE, 0, 0.96875)],
        )
    ],
    ablations=[
        Ablations(
            metric="tpp",
            texts="people",
            name="field",
            rows=[AblationRow(name="latents", n=5, score=figure(0.1875, 0.03125), spread=0.25)],
        ),
        Ablations(metric="scr", texts="people", name="gender, bound to field", failure="it cost too little"),
    ],
    ravel=Ravel(
        able={"country": figure(0.9)},
        n_entities=37,
        rows=[RavelRow(name="latents", n=5, cause=figure(0.25), isolation=figure(0.5), disentangled=figure(-0.25))],
    ),
    failures=[Failure(subject=f"code: {MARKUP}", reason="too few")],
)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    run = small_run(tmp_path_factory.mktemp("page"))
    run.do("train")
    with stage(run.folder / KIND, KIND, ProbesConfig(), {}) as staging:
        write_json(staging.folder / FILE, FOUND.to_json())
        Figures(figures=[]).write(staging.folder)
        staging.finish()
    return run.workspace


@pytest.fixture(scope="module")
def client(workspace) -> TestClient:
    return TestClient(create_app(workspace), base_url="http://127.0.0.1")


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
