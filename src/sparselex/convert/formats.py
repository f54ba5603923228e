"""What a foreign format is: how its files are told, what reads them, and what is found in them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sparselex.base.errors import UserError
from sparselex.base.sites import Hook, Sites, hooks_of
from sparselex.convert.fields import Fields
from sparselex.convert.kinds import BareKind
from sparselex.convert.places import place_here
from sparselex.convert.settings import NOTHING, Settings
from sparselex.convert.tensors import Tensors, read_settings, read_tensors
from sparselex.dictionaries.trainable import TrainableDictionary


class Files(NamedTuple):
    """The files of one dictionary."""

    folder: Path
    weights: Path
    """The file with the tensors; settings lie beside it."""

    transcoder: bool
    """Whether the person says that it writes another site than it reads."""

    kind: BareKind | None
    """The type that the person says bare tensors are of."""

    options: Settings
    """Fields that the person gives in place of those of the settings, or beside them. One that no reader looks at is
    refused at the door."""

    names: Settings
    """Tensors that the person calls by another name: the name that is looked for, and the one in the file. So is one
    that no reader asks for."""

    def settings(self, name: str, *, inside: str = "", needed: bool = True) -> Settings:
        """The settings in the file `name`, or in the table `inside` it, with what the person gives over them; nothing
        but that where they are not needed and there is no such file. Raises `UserError` for a file that is none."""
        path = self.folder / name
        values: Any = read_settings(path) if needed or path.is_file() else {}
        if inside:
            values = values.get(inside)
            if not isinstance(values, dict):
                raise UserError(
                    f"{path} has no table {inside!r}.", "the settings as their project writes them", "fetch it again."
                )
        return self.options.over(path, values)

    def tensors(self) -> Tensors:
        """The tensors of the weights' file, by the names that the person gives them."""
        return self.renamed(read_tensors(self.weights))

    def renamed(self, tensors: Tensors) -> Tensors:
        """The same by the names that the person gives them."""
        return tensors.renamed({name: self.names.peek(name) for name in self.names}, self.names.asked)


class Found(NamedTuple):
    """What was read, and what the files say of where it belongs; empty where they say nothing."""

    dictionary: TrainableDictionary
    model_name: str = ""
    hooks: tuple[Hook, ...] = ()
    target: tuple[Hook, ...] = ()
    """What a transcoder writes."""

    said: str = ""
    """A place that it reads by a name that is no hook of ours: a model may have such a module, or a person has to say
    which one it is."""

    said_target: str = ""
    """The same of what it writes."""

    named: tuple[str, str] = ("", "")
    """What it reads and what it writes, by the files' own names."""

    is_folded: bool = False
    """Whether the weights are folded already (`TrainableDictionary.fold`); those of other projects are not."""

    stated: Mapping[str, Any] = NOTHING
    """What the files say of the text it was trained on: `prepend_bos`, `context_size`, `dataset`."""

    warnings: tuple[str, ...] = ()
    """What was left out, assumed or taken in another way than its project would, one sentence each."""

    def at(self, hook: str, target: str = "", *, named: tuple[str, str] | None = None) -> "Found":
        """The same at the places that the files name: one, or several joined by `+`; an empty name says nothing.
        `named` are the files' own names, where these were translated before."""
        hooks, other = (_read_names(place_here(name)) for name in (hook, target))
        own = named or (hook, target)
        return self._replace(
            hooks=hooks,
            target=other,
            said=own[0] if hook and not hooks else "",
            said_target=own[1] if target and not other else "",
            named=own,
        )

    def noting(self, stated: Mapping[str, Any], *warnings: str) -> "Found":
        """The same with what the files state and what is to be said of them."""
        return self._replace(stated=dict(self.stated) | dict(stated), warnings=(*self.warnings, *warnings))


class Format(NamedTuple):
    """How one project's files are told and read."""

    marks: tuple[str, ...]
    """Patterns of the files that a folder of this format has, `|` between several of which one will do; the last one
    holds the weights."""

    read: Callable[[Files], Found]

    fields: Fields = Fields()
    """What is known of its settings and of tensors without a use; the reader holds its files against it."""

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
