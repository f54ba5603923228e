"""Commands made from configurations: a field is an option, its docstring the help, its default the default."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from sparselex.base.config import Config, json_of
from sparselex.base.errors import UserError
from sparselex.base.known import KnownIn
from sparselex.base.reading import parse_json
from sparselex.recipes.option import flag_of, option_of

NOTHING = "none"
"""What is written for no value at all, where a field takes that."""

Act = Callable[..., None]
"""`(values, **more)`: the values of the fields that were given, and the parameters of the command's own."""


def command(
    config: type[Config], act: Act, *own: inspect.Parameter, beside: type[Config] | None = None
) -> Callable[..., None]:
    """A function for typer that takes the fields of `config` and the parameters `own`, and calls `act`; where there is
    another configuration `beside` it, also the fields that this one has besides, given together with the others.

    Values come as text and are checked by the configuration, so that a mistake is told in one voice everywhere.
    """
    besides = {} if beside is None else beside.model_fields
    every = config.model_fields | {name: besides[name] for name in besides if name not in config.model_fields}
    fields = {name: field for name, field in every.items() if not option_of(field).hidden}

    def called(**given: Any) -> None:
        values = {name: given.pop(name) for name in fields}
        act(_read(values, fields), **given)

    positional = [_parameter(name, field) for name, field in fields.items() if option_of(field).positional]
    options = [_parameter(name, field) for name, field in fields.items() if not option_of(field).positional]
    parameters = [*(p for p in own if p.default is p.empty), *positional, *(p for p in own if p.default is not p.empty)]
    called.__signature__ = inspect.Signature([*parameters, *options])  # type: ignore[attr-defined]
    called.__annotations__ = {p.name: p.annotation for p in (*parameters, *options)}
    called.__doc__ = inspect.cleandoc(config.__doc__ or "")
    return called


def flags(config: type[Config]) -> dict[str, str]:
    """What each field is called on the command line."""
    return {name: _shown(name, field) for name, field in config.model_fields.items()}


def own(name: str, kind: Any, information: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    """A parameter of a command that is no field of its configuration."""
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, information]
    )


def _shown(name: str, field: FieldInfo) -> str:
    return option_of(field).metavar or name.upper() if option_of(field).positional else flag_of(name, field)


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    option, help_text = option_of(field), _help(field)
    if option.positional:
        return own(name, str, typer.Argument(metavar=option.metavar or name.upper(), help=help_text))
    flag = flag_of(name, field)
    if _is(field.annotation, bool):
        switch = f"{flag}/--no-{flag.removeprefix('--')}" if field.default else flag
        return own(name, bool | None, typer.Option(switch, help=help_text, show_default=False), None)
    kind = list[str] | None if option.pairs or _is(field.annotation, tuple) else str | None
    metavar = option.metavar or _metavar(field)
    return own(name, kind, typer.Option(flag, metavar=metavar, help=help_text, show_default=False), None)


def _help(field: FieldInfo) -> str:
    """The docstring of a field, its choices, and its default where that is a value."""
    said = " ".join((field.description or "").split())
    choices = _choices(field)
    if choices and not all(re.search(rf"\b{re.escape(choice)}\b", said) for choice in choices):
        said += f" One of {', '.join(map(str, choices))}."
    if field.is_required():
        return said if option_of(field).positional else f"{said} Required."
    default = field.get_default(call_default_factory=True)
    if default is None or isinstance(default, bool) or default in ("", (), {}):
        return said
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else f"{default}"
    return f"{said} Default: {shown}."


def _choices(field: FieldInfo) -> Sequence[str]:
    """The values that a field may have, where they can be listed."""
    for part in _parts(field.annotation):
        if get_origin(part) is Literal:
            return get_args(part)
    inside = [item for part in _parts(field.annotation) for item in get_args(part)]
    known = [item for part in inside if get_origin(part) is Annotated for item in get_args(part)]
    named = next((item for item in (*field.metadata, *known) if isinstance(item, KnownIn)), None)
    return named.registry.names() if named else ()


def _metavar(field: FieldInfo) -> str:
    option = option_of(field)
    if option.pairs:
        return "NAME=VALUE"
    if option.json_file:
        return "FILE"
    for kind, shown in ((int, "INTEGER"), (float, "NUMBER"), (Path, "PATH")):
        if _is(field.annotation, kind):
            return shown
    return "TEXT"


def _parts(annotation: Any) -> list[Any]:
    """A type taken apart: members of a union, what is annotated."""
    if get_origin(annotation) is Annotated:
        return _parts(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [part for member in get_args(annotation) for part in _parts(member)]
    return [annotation]


def _is(annotation: Any, kind: type) -> bool:
    return any(kind in (part, get_origin(part)) for part in _parts(annotation) if part is not NoneType)


def _read(values: Mapping[str, Any], fields: Mapping[str, FieldInfo]) -> dict[str, Any]:
    """The values given, as configurations take them."""
    return {name: _value(value, fields[name]) for name, value in values.items() if value not in (None, [])}


def _value(value: Any, field: FieldInfo) -> Any:
    option, takes_none = option_of(field), NoneType in _parts(field.annotation)
    if option.pairs:
        return _pairs(option.name, value)
    if isinstance(value, list):
        items = [item.strip() for text in value for item in text.split(",")]
        return [] if items == [NOTHING] else items
    if takes_none and value == NOTHING:
        return None
    return json_of(Path(value), "a JSON file with the fields of a configuration") if option.json_file else value


def _pairs(flag: str, given: list[str]) -> dict[str, Any]:
    """`NAME=VALUE` pairs as a dictionary; a value is read as JSON where it is JSON, else as text. Raises `UserError`
    for a name that is given twice."""
    found: dict[str, Any] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise UserError(
                f"{flag} {text!r} has no name or no value.", "NAME=VALUE", f"write for example {flag} bandwidth=0.3."
            )
        if name in found:
            raise UserError(f"{flag} {name} is given twice.", "one value", "leave one of them out.")
        try:
            found[name] = parse_json(value)
        except ValueError:
            found[name] = value
    return found
