"""A served workspace and a real browser."""

import shutil
import socket
import threading
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from fastapi.testclient import TestClient

from sparselex.atlas.config import MapConfig
from sparselex.atlas.maps.build_together import Laid, build_together
from sparselex.atlas.splitting.config import SplittingConfig
from sparselex.atlas.splitting.dictionaries import Dictionary
from sparselex.atlas.splitting.walk import splitting
from sparselex.base.workspace import Workspace
from sparselex.evaluate.doomed.config import DoomedConfig
from sparselex.evaluate.report import write_report
from sparselex.evaluate.supervised.config import TaskConfig
from sparselex.evaluate.supervised.walk import put_to_task
from sparselex.evaluate.synthetic.config import SyntheticConfig
from sparselex.evaluate.synthetic.synthetic import rank_types
from sparselex.parameters.config import AttackConfig, SpdConfig
from sparselex.parameters.mlp.config import MlpConfig
from sparselex.parameters.mlp.walk import Subjects, decompose_mlp
from sparselex.parameters.toys.config import TOYS, TmsConfig
from sparselex.parameters.toys.walk import decompose_toy
from sparselex.recipes.analysing import analyse
from sparselex.recipes.doomed import doomed
from sparselex.recipes.finding import find
from sparselex.recipes.run import Run
from sparselex.server.app import create_app, server_of
from sparselex.server.live import Live
from sparselex.server.live_turns import Reader
from tests.support.copier import copier, task
from tests.support.graphs import traced_workspace
from tests.support.known import SMALL
from tests.support.paired import put_pair
from tests.support.probed import put_probes
from tests.support.replicated import put_replication

OF_TASK = TaskConfig(
    n_fit=150,
    n_test=32,
    n_circuit=24,
    shortlist=8,
    kinds=("topk",),
    l0s=(2, 4),
    most_latents=48,
    n_tokens=4000,
    n_seeds=1,
    budgets=(1, 2, 4),
)

OF_DOOMED = DoomedConfig(
    examples=("scaffolding",), n_seeds=1, n_steps=10, net_steps=20, n_held_out=128, n_draws=20, batch_size=32
)

FEW = {"least_cosine": 0.1, "least_points": 50, "most_points": 200, "most_groups": 4, "n_kept": 2, "n_random": 2}
"""How features of several dimensions are looked for in a small dictionary."""

CARD = {
    "n_rows": 24,
    "sample_rows": 40,
    "n_directions": 100,
    "latents": 12,
    "control_latents": 4,
    "n_places": 4,
    "n_beside": 2,
    "n_tokens": 16,
    "controls": ("neurons",),
}
"""How little of the model-feature card is enough to look at."""

SOUGHT = {
    "n_carriers": 3,
    "n_siblings": 2,
    "n_shifts": 1,
    "n_random": 3,
    "neuron_rows": 16,
}
"""How little of the search for concepts is enough to look at."""

CONCEPTS = {"proxies": ("self", "function-names", "numbers", "camel-case"), "least_train": 5, "least_test": 5}
"""Those that are looked for, one of which the small text has not."""

OF_TOY = TOYS["tms-5-2"].model_copy(
    update={
        "toy": TmsConfig(n_steps=5),
        "spd": SpdConfig(n_components=6, n_steps=3, batch_size=16),
        "attack": AttackConfig(n_inputs=10),
        "n_inputs": 50,
    }
)
"""How little of a decomposition is enough to look at."""

OF_MLP = MlpConfig(
    spd=MlpConfig().spd.model_copy(update={"n_components": 16, "n_steps": 2, "batch_size": 32, "minimality": 0.0}),
    attack=AttackConfig(n_inputs=16, n_steps=1),
    n_inputs=512,
)
"""The same of a language model's MLP."""

LEADS = {
    "least_pairs": 20,
    "least_documents": 2.0,
    "least_confirming": 5,
    "least_documents_confirming": 1.5,
    "n_shuffles": 1,
}
"""How automata are looked for in a text of a few documents."""

RELATED = {"least_active": 5, "least_told": 2, "n_before": 4}
"""How relatives are sought in it."""

HELD = {"n_latents": 2, "n_samples": 1, "n_new": 8, "least_active": 10}
"""How latents are held in it."""

ANSWERED = {"n_latents": 40, "n_each": 10, "first": 2, "least_count": 2, "n_kinds": 8}
"""How rules are asked about tokens in it."""

SAMPLED = {"n_latents": 40, "least_active": 5, "least_sampled": 1}
"""How they are held against activations of every size."""

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def _laid(workspace: Workspace, name: str) -> Laid:
    run = Run.open(workspace, name)
    return Laid(name, run.index.id, run.dictionary.directions().numpy(), run.index.table["n_active"], {})


@pytest.fixture(scope="session")
def workspace(small_workspace, put_to_ioi, traced, tmp_path_factory) -> Workspace:
    """A copy of the small workspace with its report, a ranking on known features, a task, features of several
    dimensions, automata, pinned latents, concepts that are known, and a graph through a transcoder. Read only."""
    path = tmp_path_factory.mktemp("served") / "workspace"
    shutil.copytree(small_workspace.path, path)
    copy = Workspace(path)
    main = Run.open(copy, "main")
    main.do("manifolds", **FEW)
    analyse(copy, only=("census", "neurons"))
    main.do("analyse automata", **LEADS)
    main.do("analyse relatives", **RELATED)
    main.do("analyse proxies", **SOUGHT, **CONCEPTS, n_sampled=2)
    find(copy, regex=r"return (?P<inside>\w+)", name="returned", **SOUGHT)
    main.do("analyse pinned", **HELD)
    main.do("analyse logits", **ANSWERED)
    main.do("analyse intervals", **SAMPLED)
    put_probes(main)
    main.do("evaluate model-features", **CARD)
    main.do("analyse universality", others=("twin",), least_active=5)
    levels = [Dictionary(name, Run.open(copy, name).index) for name in ("main", "twin")]  # of one width, as it happens
    graph_of = {"index": levels[0].features.id} | {f"{one.run}/index": one.features.id for one in levels}
    splitting(levels, SplittingConfig(least_active=5), main.folder / "splitting", inputs=graph_of)
    laid = [_laid(copy, name) for name in ("main", "twin")]
    of_both = {"index": laid[1].index_id} | {f"{one.run}/index": one.index_id for one in laid[:1]}
    as_told = MapConfig(layout="pca", least_cluster=3)
    build_together(laid, "twin", as_told, copy.run("twin") / "map", inputs=of_both)
    write_report(copy)
    rank_types(copy, "main", SyntheticConfig(**{**SMALL, "n_tokens": 1000, "kinds": ("topk",)}))
    doomed(copy, OF_DOOMED)
    put_replication(copy)
    decompose_toy(copy, "tms-5-2", OF_TOY)
    put_pair(copy)
    subjects = Subjects(main.model, Run.open(copy, "twin").model, "drawn anew")
    decompose_mlp(path / "decompositions" / "main-mlp-0", "main-mlp-0", subjects, main.corpus, OF_MLP, run="main")
    write_report(copy)
    shutil.copytree(put_to_ioi, path / "tasks" / "copier")
    shutil.copytree(traced.path / "graphs", path / "graphs")
    return copy


@pytest.fixture(scope="session")
def traced(tmp_path_factory) -> Workspace:
    """A workspace with a transcoder, its index and a graph. Read only."""
    return traced_workspace(tmp_path_factory.mktemp("traced"))


@pytest.fixture(scope="session")
def put_to_ioi(tmp_path_factory) -> Path:
    """What came out of a task in a model that was made by hand. Read only."""
    path = tmp_path_factory.mktemp("task")
    put_to_task(copier(path / "model"), task(), OF_TASK, path / "copier")
    return path / "copier"


@pytest.fixture(scope="session")
def client(workspace) -> TestClient:
    return TestClient(create_app(workspace), base_url="http://127.0.0.1")


@pytest.fixture(scope="session")
def address(workspace):
    """A real server on a free local port."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    server = server_of(create_app(workspace))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="session")
def browser():
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no Chromium on this machine (Debian package `chromium`)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def live(workspace):
    """A real server on a free local port whose readers may ask the models of runs, the first of which is loaded."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    app = create_app(workspace, live=True)
    server = server_of(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    answer = app.state.live.opening("main", Reader("127.0.0.1", ""))
    assert answer.result(120).state == "answered"
    yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", app.state.live)
    server.should_exit = True
    thread.join()
    app.state.live.close()


class Served(NamedTuple):
    """A server with a live model."""

    address: str
    live: Live

    def get(self, path: str, **options: Any) -> httpx.Response:
        """What a reader gets who waits until the model is loaded."""
        while True:
            answer = httpx.get(self.address + path, timeout=120, **options)
            if answer.status_code != 503 or "is being loaded" not in answer.text:
                return answer
