"""Embed every latent by each of its explanations, its tokens and its examples: the walk."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from transformers import BertModel

from sparselex.base.artifacts import Manifest
from sparselex.base.files import FileEntry, write_file
from sparselex.base.progress import progress
from sparselex.base.staging import Staging, stage
from sparselex.explain.embedding.config import EmbedConfig
from sparselex.explain.embedding.encoder import encoder_folder, tokenizer_of
from sparselex.explain.embedding.records import EXPLAINERS, KIND, LATENTS, VECTORS
from sparselex.explain.embedding.words import Described, Row
from sparselex.explain.store import ExplanationStore
from sparselex.features.index import FeatureIndex
from sparselex.lm.quiet import quiet

_PART = 1024
"""Vectors between two files: what a kill costs at most."""


def embed(
    index: FeatureIndex,
    database: Path | str,
    config: EmbedConfig,
    to: Path | str,
    *,
    inputs: Mapping[str, str],
    device: str = "cpu",
) -> Manifest:
    """Embed every latent that was ever active, once for each of its explanations, and write the vectors to `to`.
    Killed, it goes on where it was.

    `inputs` names the ids of index, explanations and encoder. Raises `UserError` like `encoder.encoder_folder`.
    """
    encoder_folder(config.encoder)  # what is not there is refused before anything is begun
    with stage(to, KIND, config, inputs, resumes=True) as staging:
        if staging.made:
            return staging.made
        latents = np.flatnonzero(index.table["n_active"])
        described = Described(index, ExplanationStore(database), config.n_examples)
        rows = described.rows(latents.tolist())
        vectors = _vectors(described, rows, TextEncoder(config, device), staging)
        names = sorted({row.explainer for row in rows} - {""})
        codes = {name: code for code, name in enumerate(names)} | {"": -1}
        columns: dict[str, NDArray] = {
            LATENTS: np.array([row.latent for row in rows], dtype=np.int64),
            EXPLAINERS: np.array([codes[row.explainer] for row in rows], dtype=np.int32),
            VECTORS: vectors,
        }
        entries = {name: _write(staging, name, values) for name, values in columns.items()}
        notes = {"n_latents": len(latents), "n_vectors": len(rows), "explainers": names}
        return staging.finish(notes | {"width": int(vectors.shape[1])}, files=entries)


def _vectors(described: Described, rows: Sequence[Row], encoder: "TextEncoder", staging: Staging) -> NDArray:
    """`[n, width]`; parts that an earlier start has written are read."""
    parts = []
    with progress("embed", len(rows), "explanations") as bar:
        for start in range(0, len(rows), _PART):
            chosen, name = rows[start : start + _PART], f"part-{start:09d}.npy"
            if not (staging.folder / name).is_file():
                texts = described.texts(chosen)
                found = []
                for first in range(0, len(texts), encoder.batch):
                    found.append(encoder(texts[first : first + encoder.batch]))
                    bar.advance(len(found[-1]))
                _write(staging, name, np.concatenate(found))
            else:
                bar.advance(len(chosen))
            parts.append(np.load(staging.folder / name))
    return np.concatenate(parts) if parts else np.empty((0, encoder.width), dtype=np.float16)


def _write(staging: Staging, name: str, values: NDArray) -> FileEntry:
    data = io.BytesIO()
    np.save(data, values)
    return write_file(staging.folder / name, data.getvalue())


class TextEncoder:
    """The encoder in PyTorch, many texts at once, where the model is. Raises `UserError` like
    `encoder.encoder_folder`."""

    def __init__(self, config: EmbedConfig, device: str = "cpu"):
        folder = encoder_folder(config.encoder)
        with quiet():
            model = BertModel.from_pretrained(folder, add_pooling_layer=False)
        self.model = model.to(device).eval()
        self.batch, self.width = config.batch_latents, int(self.model.config.hidden_size)
        self._tokenizer = tokenizer_of(folder, min(config.most_tokens, self.model.config.max_position_embeddings))

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float16]:
        """`[n, width]`, of length 1."""
        ids = [torch.tensor(found.ids) for found in self._tokenizer.encode_batch(list(texts))]
        tokens = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True).to(self.model.device)
        lengths = torch.tensor([len(one) for one in ids], device=self.model.device)
        mask = torch.arange(tokens.shape[1], device=self.model.device) < lengths[:, None]
        with torch.inference_mode():
            last = self.model(input_ids=tokens, attention_mask=mask.long()).last_hidden_state
        return _pooled(last, mask.float()).cpu().numpy().astype(np.float16)


def _pooled(x: Float[Tensor, "n ctx width"], mask: Float[Tensor, "n ctx"]) -> Float[Tensor, "n width"]:
    """The mean over a text's tokens, of length 1."""
    mean = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    return torch.nn.functional.normalize(mean, dim=-1)
