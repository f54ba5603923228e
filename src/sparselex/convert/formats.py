"""What a foreign format is: how its files are told, what reads them, and what is found in them."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sparselex.base.errors import UserError
from sparselex.base.sites import Hook, Sites, hooks_of
from sparselex.dictionaries.trainable import TrainableDictionary


class Files(NamedTuple):
    """The files of one dictionary."""

    folder: Path
    weights: Path
    """The file with the tensors; settings lie beside it."""

    transcoder: bool = False
    """Whether the person says that it writes another site than it reads."""


class Found(NamedTuple):
    """What was read, and what the files say of where it belongs; empty where they say nothing."""

    dictionary: TrainableDictionary
    model_name: str = ""
    hooks: tuple[Hook, ...] = ()
    target: tuple[Hook, ...] = ()
    """What a transcoder writes."""

    said: str = ""
    """A place by a name that is no hook of ours: a person has to say which one it is."""

    is_folded: bool = False
    """Whether the weights are folded already (`TrainableDictionary.fold`); those of other projects are not."""

    def at(self, hook: str, target: str = "") -> "Found":
        """The same at the places that the files name: one, or several joined by `+`; an empty name says nothing."""
        hooks, other = _read_names(hook), _read_names(target)
        said = next((name for name, read in ((hook, hooks), (target, other)) if name and not read), "")
        return self._replace(hooks=hooks, target=other, said=said)


class Format(NamedTuple):
    """How one project's files are told and read."""

    marks: tuple[str, ...]
    """Patterns of the files that a folder of this format has; the last one holds the weights."""

    read: Callable[[Files], Found]

    last: bool = False
    """Whether it is taken only where no other format fits, its marks being common names."""


Writer = Callable[[TrainableDictionary, Path, str, Sites | None], None]
"""Writes a folded dictionary into a folder: `(dictionary, folder, model_name, sites)`, sites being None where nobody
named them. Raises `UserError` for a dictionary that the layout cannot hold."""


def _read_names(names: str) -> tuple[Hook, ...]:
    try:
        return hooks_of(names) if names else ()
    except UserError:  # a name of that project's own
        return ()
