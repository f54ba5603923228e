"""Where a model is read and edited: one noun, parsed once, at the door."""

import re
from typing import Any, Self

from pydantic import Field, GetCoreSchemaHandler, NonNegativeFloat, SerializeAsAny
from pydantic_core import CoreSchema, core_schema

from sparselex.base.config import Config
from sparselex.base.errors import UserError

_CANONICAL = re.compile(r"blocks\.(\d+)\.([a-z0-9_.]+?)(?::(\d+))?")
_MODULE = "module:"


class Hook(str):
    """The name of one place in a model: `blocks.<layer>.<site>`, one head of it (`blocks.<layer>.<site>:<head>`), or
    `module:<dotted path>` for the output of any module.

    A string that was taken apart once; whether a model has such a place, the model says. Raises `UserError` for any
    other text.
    """

    __slots__ = ("head", "layer", "site")

    layer: int | None
    """Number of the block; None for a module by its path."""

    site: str
    """The place inside the block, such as `hook_resid_post`; of a module its path."""

    head: int | None
    """The one head that is meant; None for all of them, and where there are none."""

    def __new__(cls, name: str) -> Self:
        hook = super().__new__(cls, name.strip())
        if hook.startswith(_MODULE) and len(hook) > len(_MODULE):
            hook.layer, hook.site, hook.head = None, hook.removeprefix(_MODULE), None
            return hook
        match = _CANONICAL.fullmatch(hook)
        if match is None:
            raise UserError(
                f"{name!r} is no hook.",
                "blocks.<layer>.<site>, such as blocks.0.hook_resid_post, or module:<dotted path>",
                "`sparselex hooks MODEL` lists those of a model.",
            )
        hook.layer, hook.site = int(match[1]), match[2]
        hook.head = None if match[3] is None else int(match[3])
        return hook

    def __getnewargs__(self) -> tuple[str]:
        return (str(self),)

    @property
    def is_module(self) -> bool:
        """Whether it is a module by its path."""
        return self.layer is None

    @property
    def whole(self) -> "Hook":
        """The same place with all its heads."""
        return self if self.head is None else Hook(self.rpartition(":")[0])

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        as_text = core_schema.plain_serializer_function_ser_schema(str)
        return core_schema.no_info_plain_validator_function(_parsed, serialization=as_text)


def hooks_of(names: str) -> tuple[Hook, ...]:
    """The single hooks of text that may name several side by side: `one+other`. Raises `UserError` like `Hook`."""
    return tuple(Hook(part) for part in names.split("+"))


def _parsed(value: Any) -> Hook:
    if isinstance(value, Hook):
        return value
    if not isinstance(value, str):
        raise ValueError("the name of a hook is text")
    try:
        return Hook(value)
    except UserError as error:
        raise ValueError(f"{error.given} Expected: {error.expected}") from None


class Mask(Config):
    """Tokens left out. BOS, separators and padding always are: they are no text."""

    norm_outlier: NonNegativeFloat = 10.0
    """Leave out tokens whose norm exceeds this many medians (attention sinks reach hundreds); 0 keeps them."""


class Sites(Config):
    """Where a model is read, what is reconstructed from it, and which tokens are left out."""

    hooks: tuple[Hook, ...] = Field(min_length=1)
    """What is read. Several lie side by side: a crosscoder, or a cross-layer transcoder."""

    target: tuple[Hook, ...] = ()
    """What a transcoder reconstructs, as many hooks as are read; empty for what is read itself."""

    mask: Mask = Mask()
    """Tokens left out everywhere."""

    @classmethod
    def at(cls, hook: str, target: str | None = None, *, mask: Mask | None = None) -> "Sites":
        """Sites from names as a person writes them, several joined by `+`. Raises `UserError` for text that names no
        hook."""
        return cls(hooks=hooks_of(hook), target=hooks_of(target) if target else (), mask=mask or Mask())

    @property
    def written(self) -> tuple[Hook, ...]:
        """What is reconstructed."""
        return self.target or self.hooks

    def names(self) -> dict[str, str]:
        """Where is read and, for a transcoder, what is reconstructed, as text: for manifests and pages."""
        return {"hook": "+".join(self.hooks)} | ({"target": "+".join(self.target)} if self.target else {})

    def __str__(self) -> str:
        return " → ".join(self.names().values())


class Sited(Config):
    """The configuration of an artifact that was read from a model: where, and how."""

    sites: Sites
    """Where."""

    options: SerializeAsAny[Config]
    """How."""
