"""Odd arguments, requests and files: whatever comes, it ends in a message, soon, and takes little memory."""

import contextlib
import json
import os
import resource
import shutil
import time

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from starlette.testclient import TestClient

from sparselex.base.artifacts import read_manifest
from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.cli.verbs import OTHERS, TOPICS
from sparselex.convert.doors import import_dictionary
from sparselex.recipes.stages import STAGES
from sparselex.server.app import create_app
from tests.support.command import sparselex

pytestmark = pytest.mark.slow

ODD = settings(
    # Always the same ones, so that fewer of them are as good in most runs.
    max_examples=700 if "SPARSELEX_EVERY_TEST" in os.environ else 200,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
TEXTS = st.text(max_size=40) | st.sampled_from(
    ["", "-1", "0", "inf", "nan", "1e12", "x" * 300, "../x", "\x00", "é", "none"]
)
LONGEST_S, MOST_BYTES = 10.0, 1 << 30


@pytest.fixture(autouse=True, scope="module")
def little_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MOST_BYTES


@pytest.fixture(autouse=True, scope="module")
def elsewhere(tmp_path_factory):
    """What a verb writes where none is named, it writes into a folder of its own."""
    with contextlib.chdir(tmp_path_factory.mktemp("odd")):
        yield


def soon(act):
    began = time.monotonic()
    found = act()
    assert time.monotonic() - began < LONGEST_S
    return found


VERBS = sorted({*STAGES.names(), *OTHERS} - {"demo", "serve"})
FLAGS = sorted(
    {f"--{name.replace('_', '-')}" for _, stage in STAGES.items() for name in stage.model_fields}
    | {"--run", "--json", "--tokens", "--context", "--as", "--replace", "--option"}
)


@ODD
@given(st.sampled_from(VERBS), st.lists(st.sampled_from(FLAGS) | TEXTS, max_size=5), st.sampled_from(["", "w", "no"]))
def test_arguments(small_workspace, tmp_path_factory, verb, more, where):
    # A text that is not there ends whatever would begin to work, and so does an option that is none; every other verb
    # finds its stage refused or done.
    folder = {"": "", "w": str(small_workspace.path), "no": str(tmp_path_factory.getbasetemp() / "no")}[where]
    text = ["--text", "/no/such/text"] if verb in ("harvest", "import") else []
    if verb in TOPICS or verb == "decompose" or (verb not in ("report", "check", "hooks", "use") and where == "w"):
        more = [*more, "--no-such-option"]
    ended = soon(lambda: sparselex(*filter(None, [verb, folder]), *more, *text))
    assert ended.code in (0, 2) and "fault in sparselex" not in ended.err and "Traceback" not in ended.err, ended.err


PARTS = st.sampled_from(
    ["runs", "main", "twin", "features", "random", "about", "static", "1", "00", "-1", "9" * 40, "..", "%2e%2e"]
)
PATHS = st.lists(PARTS | st.text(max_size=20), max_size=6).map("/".join)
QUERIES = st.dictionaries(st.sampled_from(["q", "sort", "order", "page", "x"]), TEXTS, max_size=4)


@pytest.fixture(scope="module")
def client(small_workspace):
    return TestClient(create_app(small_workspace), base_url="http://127.0.0.1", raise_server_exceptions=False)


@ODD
@given(PATHS, QUERIES, st.sampled_from(["", ".json"]))
def test_requests(client, path, query, ending):
    try:
        request = client.build_request("GET", f"http://127.0.0.1/{path}{ending}", params=query)
    except Exception:  # what no client can send
        return
    assert soon(lambda: client.send(request)).status_code < 500


@pytest.fixture(scope="module")
def dictionary(tmp_path_factory):
    """A dictionary as SAELens writes it."""
    folder = tmp_path_factory.mktemp("foreign") / "d"
    folder.mkdir()
    draw = torch.Generator().manual_seed(0)
    shapes = {"W_enc": (8, 16), "W_dec": (16, 8), "b_enc": (16,), "b_dec": (8,)}
    tensors = {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}
    save_file(tensors, folder / "sae_weights.safetensors")
    config = {"architecture": "standard", "d_in": 8, "d_sae": 16, "metadata": {"sae_lens_version": "6.0.0"}}
    (folder / "cfg.json").write_text(json.dumps(config))
    import_dictionary(folder)
    return folder


CHANGE = st.tuples(st.integers(0, 2**31), st.integers(0, 255), st.sampled_from(["set", "cut", "add", "swell"]))
CHANGES = st.lists(CHANGE, min_size=1, max_size=6)


def changed(data: bytes, changes) -> bytes:
    found = bytearray(data)
    for place, value, how in changes:
        place %= max(1, len(found))
        if how == "cut":
            del found[place:]
        elif how == "set" and found:
            found[place] = value
        else:
            found[place:place] = bytes([value]) * (1 if how == "add" else 4096)
    return bytes(found)


@ODD
@given(st.sampled_from(["cfg.json", "sae_weights.safetensors"]), CHANGES)
def test_foreign_files(dictionary, tmp_path_factory, name, changes):
    folder = shutil.copytree(dictionary, tmp_path_factory.getbasetemp() / "changed", dirs_exist_ok=True)
    (folder / name).write_bytes(changed((folder / name).read_bytes(), changes))

    def read():
        try:
            return import_dictionary(folder)
        except UserError as error:
            return error

    found = soon(read)
    if not isinstance(found, UserError):
        assert all(torch.isfinite(value).all() for value in found.dictionary.state_dict().values())


@settings(ODD, max_examples=60)
@given(st.data())
def test_files_of_a_workspace(small_workspace, tmp_path_factory, data):
    base = tmp_path_factory.getbasetemp() / "own"
    if not base.exists():
        shutil.copytree(small_workspace.path, base)
    files = [path for path in sorted(base.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    files = [path for path in files if not path.name.endswith(("-wal", "-shm"))]
    path = data.draw(st.sampled_from(files))
    before = path.read_bytes()
    path.write_bytes(changed(before, data.draw(CHANGES)))
    try:
        ended = soon(lambda: sparselex("report", base))
        assert ended.code in (0, 2) and "fault in sparselex" not in ended.err, (path, ended.err)
        client = TestClient(create_app(Workspace(base)), base_url="http://127.0.0.1", raise_server_exceptions=False)
        for page in ("/", "/runs/main/features", "/runs/main/features/1", "/runs/main/about"):
            assert soon(lambda page=page: client.get(page)).status_code < 500, (path, page)
    except UserError:  # the mark of the workspace itself
        assert path.name == "sparselex.json"
    finally:
        path.write_bytes(before)
    assert read_manifest(base / "runs/main/index").kind == "index"
