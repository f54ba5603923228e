"""Text of all kinds: what is at the sites of a task at every token of it, for dictionaries that know nothing of the
task."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from sparselex.base.artifacts import open_artifact, verified
from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.files import write_file
from sparselex.base.progress import progress
from sparselex.base.sites import Hook
from sparselex.base.staging import stage
from sparselex.evaluate.supervised.nodes import Node
from sparselex.lm.subject import SubjectModel

KIND, FILE = "general activations", "values.safetensors"

_ROWS = 32
"""Rows in a pass."""

_LEAST = 256
"""Tokens below which a dictionary of all kinds of text is of no text."""


class Rows(NamedTuple):
    """Text as rows of tokens."""

    tokens: Int[Tensor, "n ctx"]
    """Token ids."""

    counted: Bool[Tensor, "n ctx"]
    """Which of them are text."""


class General(NamedTuple):
    """Text of all kinds."""

    id: str
    """Hash of what it is."""

    name: str
    """What people call it."""

    rows: Callable[[int], Rows]
    """Rows with so many tokens of text at least, or all that there are."""


class OfGeneral:
    """What is at some hooks at every token of general text but the first of a row, where a model keeps what is no
    token's; read once and kept in the folder `to`."""

    def __init__(self, folder: Path):
        manifest = open_artifact(folder, KIND)
        self.id, self._file = manifest.id, verified(folder, FILE, manifest)
        self.words: str = manifest.notes.get("read", "")
        """How many tokens were read of what."""

    def at(self, nodes: Sequence[Node]) -> dict[Node, Float[Tensor, "n d"]]:
        """What is at the hook of each node."""
        with safe_open(self._file, framework="pt") as tensors:
            return {node: tensors.get_tensor(str(node.hook)) for node in nodes}


class _Read(Config):
    """What an artifact of this kind was read with."""

    n_tokens: int
    """Tokens."""


def read_general(
    model: SubjectModel, general: General, hooks: Sequence[Hook], n_tokens: int, to: Path, inputs: Mapping[str, str]
) -> OfGeneral:
    """What is at each hook on `n_tokens` tokens, or on all that there are; what is there already is kept. Raises
    `UserError` for a text that is hardly one."""
    named = {**inputs, "text": general.id, "hooks": " + ".join(hooks)}
    with stage(to, KIND, _Read(n_tokens=n_tokens), named) as staging:
        if not staging.made:
            rows = general.rows(n_tokens)
            counted = rows.counted.clone()
            counted[:, 0] = False
            n_read = min(n_tokens, int(counted.sum()))
            if n_read < min(_LEAST, n_tokens):
                raise UserError(
                    f"{general.name} has {n_read:,} tokens that can be read.",
                    f"text of all kinds, {n_tokens:,} tokens of it and {_LEAST} at least",
                    "name more text by --general-text, or leave it out (--general none).",
                )
            found: dict[Hook, list[Tensor]] = {hook: [] for hook in hooks}
            starts = range(0, len(counted), _ROWS)
            with progress("read general text", len(starts), "passes") as bar:
                for start in starts:
                    part = slice(start, start + _ROWS)
                    read = model.read(rows.tokens[part], hooks)
                    for hook in hooks:
                        found[hook].append(read[hook][counted[part]].float().cpu())
                    bar.advance(1)
            values = {str(hook): torch.cat(parts)[:n_tokens].contiguous() for hook, parts in found.items()}
            write_file(staging.folder / FILE, save(values))  # not save_file: it hides why the disk refused
            staging.finish({"read": f"{n_read:,} tokens of {general.name}"})
    return OfGeneral(to)
