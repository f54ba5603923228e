"""What is known of the fields of a foreign file: none that changes numbers is left out in silence."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from reprlib import repr as shortened
from typing import Any, NamedTuple

from sparselex.base.errors import UserError
from sparselex.convert.settings import NOTHING, Settings
from sparselex.convert.tensors import Tensors, in_short

_MOST_NAMED, _LONGEST = 12, 200
"""Fields that are listed, and characters of what they state: a stranger wrote them."""

_SAYS_NOTHING: tuple[Any, ...] = (None, False, 0, 0.0, "", [], {})

_STATED = {"prepend_bos": bool, "context_size": int, "dataset": str}
"""What of the text a file may state."""

Reviewed = tuple[dict[str, Any], tuple[str, ...]]
"""What the settings state of the text, and sentences to be said."""


class Fields(NamedTuple):
    """The fields that the settings and the weights of one format have. Names are separated by spaces; `*` stands for
    any end."""

    used: str = ""
    """Settings that decide what the dictionary is; its reader looks at them."""

    harmless: str = ""
    """Settings that change no code and no reconstruction: of training, of files, of whoever wrote them."""

    only: Mapping[str, tuple[Any, ...]] = NOTHING
    """Settings that would change numbers, with the values at which they change none. Others are refused."""

    warned: Mapping[str, tuple[Any, ...]] = NOTHING
    """Settings that tell on which tokens it was trained, with the values that are nothing to tell."""

    stated: Mapping[str, str] = NOTHING
    """What they say of the text: their name, and ours."""

    tensors: str = ""
    """Tensors that change no code and no reconstruction."""

    idle: Mapping[str, str] = NOTHING
    """Settings and tensors that change nothing in dictionaries of one type, which others use: by what is to be said of
    such a dictionary."""

    def is_harmless(self, name: str) -> bool:
        """Whether a setting changes no code and no reconstruction."""
        return _matches(name, self.harmless.split())

    def review(self, cfg: Settings, tensors: Tensors, *types: str) -> Reviewed:
        """What the settings state of the text, and a sentence on each that was left out; to be called when the reader
        has taken what it uses. `types` are those of `idle` that the dictionary is of.

        Raises `UserError` for a value that changes numbers in a way that is not read, and for a field that the person
        gave and this format does not have.
        """
        for name, neutral in self.only.items():
            if name in cfg and not _among(cfg[name], neutral):
                raise _changes(tensors, name, cfg[name], neutral)
        warnings = [
            f"{name} is {shortened(cfg[name])}: it was trained on these tokens alone, and here it reads all"
            for name, nothing in self.warned.items()
            if name in cfg and not _among(cfg[name], nothing)
        ]
        idle = " ".join(self.idle.get(name, "") for name in types).split()
        warnings += [*tensors.notes, *self._unknown(cfg), *self._unused(cfg, idle)]
        if left := [name for name in tensors.left if not _matches(name, [*self.tensors.split(), *idle])]:
            warnings.append(
                f"tensors that have no use here were left out: {_listed([in_short(name) for name in left])}"
            )
        stated, told = self._stated(cfg)
        return stated, (*warnings, *told)

    def _unknown(self, cfg: Settings) -> list[str]:
        known = [*f"{self.used} {self.harmless}".split(), *self.only, *self.warned, *self.stated]
        unknown = [name for name in cfg if not _matches(name, known)]
        if strange := [name for name in unknown if name in cfg.given]:
            raise UserError(
                f"--option {strange[0]} is no field of this format.",
                "one of " + ", ".join(sorted({*self.used.split(), *self.only, *self.warned, *self.stated})),
                "correct the name, or leave it out.",
            )
        if not unknown:
            return []
        return [f"fields of the settings that are not known here were left out: {_told(cfg, unknown)}"]

    def _unused(self, cfg: Settings, idle: list[str]) -> list[str]:
        """What the files say and a dictionary of this type does not have; what a person says so is refused at the
        door."""
        unused = [
            name
            for name in cfg
            if _matches(name, self.used.split())
            and name not in cfg.asked | cfg.given
            and not _among(cfg.peek(name), _SAYS_NOTHING)
            and not _matches(name, idle)
        ]
        if not unused:
            return []
        return [
            f"fields of the settings without a use in a dictionary of this type were left out: {_told(cfg, unused)}"
        ]

    def _stated(self, cfg: Settings) -> Reviewed:
        stated: dict[str, Any] = {}
        told = []
        for name, ours in self.stated.items():
            value = cfg.get(name)
            if isinstance(value, _STATED[ours]) and (ours == "prepend_bos" or not isinstance(value, bool)):
                stated[ours] = value[:_LONGEST] if isinstance(value, str) else value
            elif value is not None:
                told.append(f"{name} is {shortened(value)}, which says nothing of the text")
        return stated, tuple(told)


def _told(cfg: Settings, names: list[str]) -> str:
    return _listed([f"{in_short(name)}={shortened(cfg.peek(name))}" for name in names])


def _among(value: Any, values: tuple[Any, ...]) -> bool:
    return any(type(value) is type(one) and value == one for one in values)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(str(name), pattern) for pattern in patterns)


def _listed(names: list[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _changes(tensors: Tensors, name: str, value: Any, neutral: tuple[Any, ...]) -> UserError:
    fault = tensors.fault(f"{name} is {shortened(value)}, which changes numbers in a way that is not read here")
    allowed = " or ".join(shortened(one) for one in neutral if one is not None) or "no such field"
    return UserError(
        fault.given, f"{name}: {allowed}", f"if you know better, say so with --option {name}=VALUE as one of these."
    )
