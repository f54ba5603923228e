"""What is known of the fields of a foreign file: none that changes numbers is left out in silence."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from reprlib import repr as shortened
from types import MappingProxyType
from typing import Any, NamedTuple

from sparselex.base.errors import UserError
from sparselex.convert.tensors import Tensors

NOTHING: Mapping[str, Any] = MappingProxyType({})

_MOST_NAMED = 12


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

    def review(
        self, given: Mapping[str, Any], cfg: Mapping[str, Any], tensors: Tensors
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        """What the settings state of the text, and a sentence on each that was left out; to be called when the reader
        has taken what it uses. `given` are the fields that the person gave.

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
        known = [*f"{self.used} {self.harmless}".split(), *self.only, *self.warned, *self.stated]
        unknown = [name for name in cfg if not _matches(name, known)]
        if strange := [name for name in unknown if name in given]:
            raise UserError(
                f"--option {strange[0]} is no field of this format.",
                "one of " + ", ".join(sorted(set(known))),
                "correct the name, or leave it out.",
            )
        if unknown:
            told = [f"{name}={shortened(cfg[name])}" for name in unknown]
            warnings.append(f"fields of the settings that are not known here were left out: {_listed(told)}")
        if left := [name for name in tensors.left if not _matches(name, self.tensors.split())]:
            warnings.append(f"tensors that have no use here were left out: {_listed(left)}")
        stated = {ours: cfg[name] for name, ours in self.stated.items() if cfg.get(name) is not None}
        return stated, tuple(warnings)


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
