"""Models in llama.cpp's files: what is kept of them, who may write it, and what is said of files that are not whole."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from sparselex.base.errors import UserError
from sparselex.base.files import checksum
from sparselex.base.locks import lock
from sparselex.lm import gguf as adapter
from sparselex.lm.load import load_model
from sparselex.lm.named import local, settled_model
from tests.support.command import done, sparselex
from tests.support.small_gguf import small_gguf

gguf = pytest.importorskip("gguf", reason="the extra `gguf` is not installed")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of its own, by the variable by which a user has one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def file(tmp_path):
    small_gguf(tmp_path / "small.gguf")
    return tmp_path / "small.gguf"


@pytest.mark.parametrize("name", ["small.gguf", "small.GGUF"])
def test_a_file_is_the_model_that_was_written_and_is_dequantised_once(tmp_path, cache, capfd, monkeypatch, name):
    written = small_gguf(tmp_path / name)
    tokens = torch.arange(8)[None]
    for said in (f"dequantising {name}: once, the result is kept in {cache}", ""):
        model = load_model(str(tmp_path / name))
        assert torch.equal(model.run(tokens).logits, written(tokens).logits)
        told = capfd.readouterr().err
        assert said in told and len(told.splitlines()) == bool(said), "no bars, one line the first time"
    assert local(str(tmp_path / name)) == tmp_path / name
    monkeypatch.chdir(tmp_path)
    assert settled_model(name) == str(tmp_path / name)


def cut_by_one(data):
    return data[:-1]


def cut_in_the_tensors(data):
    return data[:200_000]


def cut_in_the_header(data):
    return data[:50_000]


@pytest.mark.parametrize(
    ("cut", "words"),
    [
        (cut_by_one, "its header promises {:,} bytes, and {:,} are there"),
        (cut_in_the_tensors, "its header promises {:,} bytes, and {:,} are there"),
        (cut_in_the_header, "it ends inside its header, after {1:,} bytes"),
    ],
)
def test_a_file_that_is_cut_off_is_one_message(file, cache, cut, words):
    data = file.read_bytes()
    file.write_bytes(cut(data))
    ended = sparselex("hooks", file)
    assert ended.code == 2 and ended.err.startswith("error: The model file") and len(ended.err.splitlines()) == 3
    assert words.format(len(data), len(cut(data))) in ended.err and "download it again" in ended.err
    assert not [path for path in cache.rglob("*") if path.is_file()]


def damage(folder):
    """Other weights, in the size that they had."""
    with open(folder / "model.safetensors", "r+b") as weights:
        weights.seek(-4, os.SEEK_END)
        weights.write(b"\1\2\3\4")


def damage_config(folder):
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"silu"', '"gelu"'))


def add(folder):
    """A file by which the library would take other weights."""
    (folder / "adapter_config.json").write_text("{}")


def lose(folder):
    (folder / "tokenizer.json").unlink()


@pytest.mark.parametrize("change", [damage, damage_config, add, lose])
def test_what_is_kept_is_read_as_it_was_written_or_not_at_all(file, change):
    folder = adapter.dequantised(file)
    change(folder)
    with pytest.raises(UserError, match=f"delete {folder}, then run the same command again"):
        load_model(str(file))
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    load_model(str(file))


def test_a_file_without_one_of_its_tensors_is_refused(tmp_path, monkeypatch, cache):
    """Random numbers would take its place, and be kept."""
    add_tensor = gguf.GGUFWriter.add_tensor
    lacking = lambda self, name, *more: None if name == "blk.1.ffn_up.weight" else add_tensor(self, name, *more)
    monkeypatch.setattr(gguf.GGUFWriter, "add_tensor", lacking)
    small_gguf(tmp_path / "a.gguf")
    with pytest.raises(UserError, match=r"missing: model\.layers\.1\.mlp\.up_proj\.weight"):
        load_model(str(tmp_path / "a.gguf"))
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_tensors_that_the_library_passes_over_are_told(tmp_path, monkeypatch):
    head = gguf.GGUFWriter.write_header_to_file

    def with_factors(writer):
        writer.add_tensor("rope_freqs.weight", np.ones(4, dtype=np.float32))
        head(writer)

    monkeypatch.setattr(gguf.GGUFWriter, "write_header_to_file", with_factors)
    small_gguf(tmp_path / "a.gguf")
    assert "warning: rope_freqs.weight of a.gguf is not read" in done("hooks", tmp_path / "a.gguf").err


def test_a_cache_that_cannot_be_written_says_which_variable_names_another(file, cache):
    cache.write_text("no folder")
    ended = sparselex("hooks", file)
    assert ended.code == 2 and f"Writing {cache}" in ended.err and "XDG_CACHE_HOME" in ended.err
    assert "~/Library/Caches" in ended.err


@pytest.mark.slow
def test_two_processes_on_a_fresh_cache(file):
    """The second waits for the first: here for this one, and then one of two for the other."""
    command = [sys.executable, "-m", "sparselex", "hooks", str(file), "--json"]
    folder = adapter.user_cache_path("sparselex") / "gguf"
    folder.mkdir(parents=True)
    with lock(folder / f".{checksum(file)[:32]}.lock", "writing"):
        both = [subprocess.Popen(command, stdout=-1, stderr=-1, encoding="utf-8") for _ in range(2)]
        for process in both:
            assert process.stderr.readline() == "waiting for another process, which dequantises small.gguf\n"
    ended = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], ended
    assert ended[0][0] == ended[1][0] == done("hooks", file, "--json").out
    assert sorted("dequantising" in err for _, err in ended) == [False, True]
