"""delphi's cache to and from: a run's index leaves and comes back to the last bit of float16, and such a run can be
read, searched, explained and exported without a model."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from safetensors.numpy import load_file, save_file

from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.convert.delphi_cache import ranges, read_cache
from sparselex.features.index import FeatureIndex
from sparselex.recipes.dashboards.cached import take_cache
from sparselex.recipes.run import Run
from sparselex.server.app import create_app
from sparselex.text.corpus import TokenCorpus
from tests.support.chat import chat_server
from tests.support.command import done, sparselex
from tests.support.judge import ScriptedModel, over_http

N_ROWS, N_CTX, D_SAE = 240, 16, 12


def planted(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Tokens, and activations `[row, column, latent]` in float16: latent 3 is active on token 7, others anywhere."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, 40, (N_ROWS, N_CTX))
    acts = np.where(rng.random((N_ROWS, N_CTX, D_SAE)) < 0.02, rng.random((N_ROWS, N_CTX, D_SAE)) + 0.1, 0)
    acts[..., 3] = np.where(tokens == 7, 2.5, 0)
    acts[..., 11] = 0
    return tokens, acts.astype(np.float16)


def cached(home: Path, tokens: np.ndarray, acts: np.ndarray, n_files: int = 2, dtype: type = np.uint16) -> Path:
    """Files as delphi writes them."""
    home.mkdir(parents=True)
    for first in range(0, acts.shape[2], acts.shape[2] // n_files):
        part = acts[..., first : first + acts.shape[2] // n_files]
        where = np.argwhere(part)
        # As rows one behind another: the library writes memory as it lies.
        tensors = {
            "locations": np.ascontiguousarray(where, dtype),
            "activations": part[tuple(where.T)],
            "tokens": tokens,
        }
        save_file(tensors, home / f"{first}_{first + part.shape[2] - 1}.safetensors")
    (home / "config.json").write_text(json.dumps({"model_name": "somebody/a-model", "cache_ctx_len": tokens.shape[1]}))
    return home


def loaded(home: Path) -> dict[int, dict[tuple[int, int], float]]:
    """What delphi's loader makes of a cache: by latent the row, column and activation of each entry."""
    found: dict[int, dict[tuple[int, int], float]] = {}
    for path in home.glob("*.safetensors"):
        first, last = map(int, path.stem.split("_"))
        data = load_file(path)
        assert data["activations"].dtype == np.float16 and data["locations"].dtype in (np.uint16, np.uint32)
        assert data["tokens"].dtype == np.int64
        for (row, column, latent), value in zip(data["locations"].tolist(), data["activations"].tolist(), strict=True):
            assert latent <= last - first
            found.setdefault(latent + first, {})[row, column] = value
    return found


def index_of(workspace: Workspace, run: str) -> FeatureIndex:
    return FeatureIndex(workspace.run(run) / "index", TokenCorpus(workspace.corpus_of(run)))


def entries(index: FeatureIndex, latent: int) -> set[tuple[bytes, int, float]]:
    """Where a latent is active, by the tokens of the row, whose place may have changed."""
    positions, values = index.column(latent)
    rows, columns = np.divmod(positions, index.corpus.n_ctx)
    tokens = np.asarray(index.corpus.tokens).astype(np.int64)
    return {(tokens[row].tobytes(), int(c), float(v)) for row, c, v in zip(rows, columns, values, strict=True)}


@pytest.fixture(scope="module")
def theirs(tmp_path_factory) -> Workspace:
    """A workspace with a run made of a planted cache. Read only."""
    folder = tmp_path_factory.mktemp("cached")
    cached(folder / "results" / "latents" / "layers.3.mlp", *planted())
    workspace = Workspace.create(folder / "w")
    taken = take_cache(workspace, "theirs", folder / "results", tokenizer="none")
    assert (taken.n_features, taken.n_texts, taken.model, taken.left_out) == (D_SAE - 1, N_ROWS, "somebody/a-model", {})
    return workspace


def test_every_activation_is_in_the_index_and_no_other(theirs):
    tokens, acts = planted()
    index = index_of(theirs, "theirs")
    assert index.d_sae == D_SAE and index.n_tokens_total == N_ROWS * N_CTX and index.counted.all()
    for latent in range(D_SAE):
        wanted = {(tokens[r].tobytes(), int(c), float(acts[r, c, latent])) for r, c in np.argwhere(acts[..., latent])}
        assert entries(index, latent) == wanted
    assert all(index.n_tokens[split] for split in ("train", "validation", "test"))
    assert str(index.sites) == "module:layers.3.mlp"


def test_neighbouring_rows_share_a_split(theirs):
    index, tokens = index_of(theirs, "theirs"), planted()[0]
    splits = {
        row.astype(np.int64).tobytes(): split
        for split, rows in index.corpus.row_ranges.items()
        for row in np.asarray(index.corpus.tokens)[rows.start : rows.stop]
    }
    assert all(splits[tokens[at].tobytes()] == splits[tokens[at + 1].tobytes()] for at in range(0, N_ROWS, 2))


def test_pages_search_and_rules_work_without_a_model(theirs, tmp_path):
    shutil.copytree(theirs.path, tmp_path / "w")
    workspace = Workspace(tmp_path / "w")
    done("explain", workspace.path, "--run", "theirs", "--min-active", "5")
    client = TestClient(create_app(workspace), base_url="http://127.0.0.1")
    page = client.get("/runs/theirs/features/3.json").json()
    rule = next(one for one in page["explanations"] if one["explainer"] == "rule")
    assert rule["status"] == "explained" and '"#7·"' in rule["text"]
    assert {score["metric"]: score["value"] for score in rule["scorers"][0]["scores"]}["f1"] == 1
    assert page["examples"][0]["examples"][0]["value"] == 2.5
    density = float((planted()[0] == 7).mean())
    assert (
        page["elsewhere"]["stated"]["density"] == pytest.approx(density)
        and "All 240 rows" in page["elsewhere"]["notice"]
    )
    for path in ("/", "/runs/theirs/features", "/runs/theirs/features/3", "/runs/theirs/features/11", "/about/theirs"):
        assert client.get(path).status_code == 200, path
    assert Run.open(workspace, "theirs").elsewhere, "and still after its options were kept"
    done("explain", workspace.path, "--run", "theirs", "--min-active", "5")
    done("explanations", workspace.path, "--run", "theirs")


def test_a_language_model_explains_and_judges_it(theirs, tmp_path):
    shutil.copytree(theirs.path, tmp_path / "w")
    few = ("--latents", 4, "--active", 5, "--silent", 4, "--hard", 2, "--check", 0, "--min-active", 5)
    with chat_server(over_http(ScriptedModel())) as server:
        done("explain", tmp_path / "w", "--run", "theirs", "--llm", server.url, "--llm-model", "scripted", *few)
    listed = done("explanations", tmp_path / "w", "--run", "theirs", "--json").json
    assert [(row["explainer"], row["n_explained"]) for row in listed] == [("llm", 4)]


def test_what_needs_a_model_says_so(theirs):
    for options in (
        ["train"],
        ["index"],
        ["evaluate"],
        ["harvest"],
        ["embed"],
        ["steer", "--latent", "3", "--prompt", "x"],
    ):
        failed = sparselex(options[0], theirs.path, "--run", "theirs", *options[1:])
        assert failed.code == 2 and "made elsewhere" in failed.err, (options, failed.err)
    failed = sparselex("export", theirs.path, theirs.path.parent / "no", "--run", "theirs", "--layout", "saelens")
    assert failed.code == 2 and "made elsewhere" in failed.err and not (theirs.path.parent / "no").exists()


def test_ours_leaves_and_comes_back(small_workspace, small_index, tmp_path):
    run = Run.open(small_workspace)
    run.do("export", to=tmp_path / "cache", layout="delphi")
    (home,) = (tmp_path / "cache").iterdir()
    assert home.name == str(small_index.sites) and len(list(home.glob("*.safetensors"))) == 5
    found, n_ctx = loaded(home), small_index.corpus.n_ctx
    for latent in range(small_index.d_sae):
        positions, values = small_index.column(latent)
        halves = values.astype(np.float16)
        wanted = {divmod(int(p), n_ctx): float(v) for p, v in zip(positions, halves, strict=True) if v}
        assert found.get(latent, {}) == wanted
    workspace = Workspace.create(tmp_path / "w")
    taken = take_cache(workspace, "back", tmp_path / "cache")
    assert taken.model == "embedded" and taken.n_texts == small_index.corpus.n_rows
    back = index_of(workspace, "back")
    texts = [back.corpus.vocabulary.decode(row) for row in np.asarray(back.corpus.tokens)]
    ours = [small_index.corpus.vocabulary.decode(row) for row in np.asarray(small_index.corpus.tokens)]
    assert sorted(texts) == sorted(ours)
    if not taken.left_out:
        for latent in range(back.d_sae):
            halved = {(t, c, float(np.float16(v))) for t, c, v in entries(small_index, latent) if np.float16(v)}
            assert entries(back, latent) == halved
    done("export", workspace.path, tmp_path / "again", "--run", "back", "--layout", "delphi")
    again = loaded(next((tmp_path / "again").iterdir()))
    assert {n: sorted(part.values()) for n, part in again.items()} == {n: sorted(p.values()) for n, p in found.items()}


def test_a_cache_of_wide_numbers_and_of_few_rows(tmp_path):
    tokens, acts = planted()
    home = cached(tmp_path / "few" / "layers.0", tokens[:8], acts[:8], dtype=np.uint32)
    workspace = Workspace.create(tmp_path / "w")
    take_cache(workspace, "few", home, tokenizer="none")
    index = index_of(workspace, "few")
    assert index.n_tokens == {"train": 8 * N_CTX, "validation": 0, "test": 0}, "too few to be divided"
    assert len(index.column(3)[0]) == np.count_nonzero(acts[:8, :, 3])


def test_rows_that_stand_there_twice(tmp_path):
    tokens, acts = planted()
    tokens[1], acts[1] = tokens[0], acts[0]
    tokens[2], acts[2] = tokens[0], 0
    taken = take_cache(Workspace.create(tmp_path / "w"), "r", cached(tmp_path / "h", tokens, acts), tokenizer="none")
    assert taken.left_out == {"rows that stand there twice, with other activations": 1}, "as the first of them"
    acts[0], acts[1] = 0, 0
    acts[2, 5, 11] = 3.5
    taken = take_cache(Workspace.create(tmp_path / "v"), "r", cached(tmp_path / "i", tokens, acts), tokenizer="none")
    assert taken.left_out == {"rows that stand there twice, with other activations": 2}
    values = index_of(Workspace(tmp_path / "v"), "r").column(11)[1]
    assert values.tolist() == [3.5] * 3, "of rows of which one was read, that one"


def test_read_again_is_as_the_files_are_now(tmp_path):
    tokens, acts = planted()
    workspace = Workspace.create(tmp_path / "w")
    take_cache(workspace, "r", cached(tmp_path / "h", tokens, acts), tokenizer="none")
    shutil.rmtree(tmp_path / "h")
    acts[0, 0, 11] = 9
    take_cache(workspace, "r", cached(tmp_path / "h", tokens, acts), tokenizer="none")
    assert index_of(workspace, "r").table["max"][11] == 9


def test_files_divide_the_latents():
    for d_sae in (1, 3, 5, 12, 4096, 131_072):
        found = ranges(d_sae)
        assert found[0].start == 0 and found[-1].stop == d_sae
        assert all(len(part) for part in found) and sum(map(len, found)) == d_sae


def _spoiled(home: Path, **tensors: np.ndarray) -> None:
    path = home / "0_5.safetensors"
    save_file({name: value for name, value in (load_file(path) | tensors).items() if value is not None}, path)


HOSTILE = {
    "NaN": (lambda h, t: _spoiled(h, activations=np.full_like(t["activations"], np.nan)), "not finite"),
    "infinity": (lambda h, t: _spoiled(h, activations=np.full_like(t["activations"], np.inf)), "not finite"),
    "whole numbers": (lambda h, t: _spoiled(h, activations=t["activations"].astype(np.int32)), "activations are int32"),
    "fewer": (lambda h, t: _spoiled(h, activations=t["activations"][:-1]), "not one a location"),
    "two columns": (lambda h, t: _spoiled(h, locations=t["locations"][:, :2].copy()), "not whole numbers [n, 3]"),
    "floats": (lambda h, t: _spoiled(h, locations=t["locations"].astype(np.float32)), "not whole numbers [n, 3]"),
    "rows beyond": (lambda h, t: _spoiled(h, locations=t["locations"] + np.uint16([N_ROWS, 0, 0])), "rows beyond"),
    "columns beyond": (lambda h, t: _spoiled(h, locations=t["locations"] + np.uint16([0, N_CTX, 0])), "columns beyond"),
    "latents beyond": (lambda h, t: _spoiled(h, locations=t["locations"] + np.uint16([0, 0, 6])), "latents beyond"),
    "below nothing": (lambda h, t: _spoiled(h, locations=t["locations"].astype(np.int64) - 1), "beyond"),
    "twice": (lambda h, t: _spoiled(h, locations=np.zeros_like(t["locations"])), "is there twice"),
    "other tokens": (lambda h, t: _spoiled(h, tokens=t["tokens"] + 1), "others than those"),
    "flat tokens": (
        lambda h, t: _spoiled(h, tokens=t["tokens"].reshape(-1).copy()),
        "not whole numbers [rows, columns]",
    ),
    "no locations": (lambda h, t: _spoiled(h, locations=None), "no locations"),
    "truncated": (
        lambda h, t: (h / "0_5.safetensors").write_bytes((h / "0_5.safetensors").read_bytes()[:-9]),
        "cannot be",
    ),
    "no file at all": (lambda h, t: (h / "0_5.safetensors").write_bytes(b"\xff" * 64), "cannot be read"),
    "a claim of 2^60 bytes": (
        lambda h, t: (h / "0_5.safetensors").write_bytes((1 << 60).to_bytes(8, "little")),
        "cannot",
    ),
    "overlapping": (lambda h, t: shutil.copy(h / "0_5.safetensors", h / "3_8.safetensors"), "behind"),
    "many latents": (lambda h, t: (h / "6_11.safetensors").rename(h / "6_999999999.safetensors"), "behind"),
    "settings": (lambda h, t: (h / "config.json").write_bytes(b"\xff{"), "cannot be read"),
    "a model that is a path": (
        lambda h, t: (h / "config.json").write_text('{"model_name": "../../etc"}'),
        "--tokenizer",
    ),
    "a model of nobody": (lambda h, t: (h / "config.json").write_text('{"model_name": "nobody/x"}'), "--tokenizer"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_damaged_is_named_and_leaves_nothing(what, tmp_path):
    home = cached(tmp_path / "layers.0", *planted())
    spoil, words = HOSTILE[what]
    spoil(home, load_file(home / "0_5.safetensors"))
    tokenizer = [] if "model" in what else ["--tokenizer", "none"]
    failed = sparselex("dashboards", tmp_path / "w", home, *tokenizer)
    assert failed.code == 2 and words in failed.err and "to do:" in failed.err, failed.err
    assert not (tmp_path / "w").exists()


def test_wrong_places_and_tokenizers(small_workspace, tmp_path):
    tokens, acts = planted()
    for name in ("layers.0", "layers.1"):
        cached(tmp_path / "latents" / name, tokens, acts)
    for hookpoint, words in (("", "layers.0, layers.1"), ("layers.7", "none at layers.7"), ("../x", "none at")):
        with pytest.raises(UserError, match=words):
            read_cache(tmp_path, hookpoint)
    assert read_cache(tmp_path, "layers.1").hookpoint == "layers.1"
    home = cached(tmp_path / "far", tokens + 10**6, acts)
    for arguments, words in (
        ([home, "--tokenizer", "embedded"], "has the token 1000039"),
        ([tmp_path / "latents" / "layers.0", "--tokenizer", str(tmp_path / "nowhere")], "cannot be had"),
    ):
        failed = sparselex("dashboards", tmp_path / "w", *arguments)
        assert failed.code == 2 and words in failed.err
    failed = sparselex("dashboards", small_workspace.path, home, "--tokenizer", "none", "--run", "main")
    assert failed.code == 2 and "made here" in failed.err


def test_what_float16_cannot_hold_is_refused(small_workspace, tmp_path, monkeypatch):
    run = Run.open(small_workspace)
    column = FeatureIndex.column
    monkeypatch.setattr(
        FeatureIndex, "column", lambda self, n: (column(self, n)[0], column(self, n)[1] * np.float32(1e6))
    )
    with pytest.raises(UserError, match=r"beyond 65,504"):
        run.do("export", to=tmp_path / "cache", layout="delphi")
    assert not list(tmp_path.iterdir())
