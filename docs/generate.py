"""Writes what is made from the code: `python docs/generate.py` (`make docs` runs it; `tests/test_docs.py` holds the
files to what it gives).

`docs/reference/cli.md` has every verb and option of the live command line, `configuration.md` and `records.md` every
field of every configuration and record, `formats.md` what becomes of the fields of other projects' files, and
`src/sparselex/__init__.pyi` shows type checkers the names that `sparselex` loads on first use.
"""

import ast
import importlib
import re
import types
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import sparselex
from sparselex.cli.main import app
from sparselex.convert.table import FORMATS

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src"
NOTE = "<!-- Made by `python docs/generate.py`; edit the docstring or the help in the code instead. -->"

CONFIGURATIONS = """\
What can be set, by room. A configuration is frozen, refuses names that it does not know, and is saved with the artifact
that was made from it. `--config FILE` and `run.json` write the same fields as JSON."""

FOREIGN = """\
What `sparselex import` does with each field of the settings, and with each tensor that is no weight, by format. `*`
stands for any end of a name. A field or a tensor that is not listed is named in a warning, and left out; so is one that
is used, where the type at hand has no use for it. One that would change numbers in a way that is not read is refused,
and `--option NAME=VALUE` takes another value in its place. What a person gives with `--option` or `--map` is used, or
refused, also where the files may say it and nothing comes of it."""

RECORDS = "What is written to disk, printed by `--json` and shown as JSON by the browser, by room."

_BOUNDS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "multiple_of": "a multiple of"}
_LENGTHS = {"min_length": "at least", "max_length": "at most"}


def generated() -> dict[Path, str]:
    """Every file that is made from the code, with its text."""
    configurations, records = _divided(list(_classes()))
    reference = ROOT / "docs" / "reference"
    return {
        reference / "cli.md": _cli_page(),
        reference / "configuration.md": _fields_page("Configurations", CONFIGURATIONS, configurations),
        reference / "formats.md": _formats_page(),
        reference / "records.md": _fields_page("Records", RECORDS, records),
        SRC / "sparselex" / "__init__.pyi": _stub(),
    }


def _formats_page() -> str:
    """What becomes of each field of other projects' files."""
    parts = ["# Fields of other projects' files", NOTE, FOREIGN]
    for name, form in FORMATS.items():
        fields = form.fields
        marks = " and ".join(f"`{mark}`" for mark in form.marks)
        only = (f"`{name}` ({' or '.join(map(repr, values))})" for name, values in fields.only.items())
        rows = {
            "used": _names(fields.used.split()),
            "read at one value, refused at others": ", ".join(only),
            "told where they say something": _names(fields.warned),
            "kept, and held against the run's text": _names(fields.stated),
            "of no effect": _names(fields.harmless.split()),
            "tensors of no effect": _names(fields.tensors.split()),
        }
        rows |= {f"of no effect in a file of {which}": _names(names.split()) for which, names in fields.idle.items()}
        told = "\n".join(f"- {what}: {which}" for what, which in rows.items() if which)
        parts += [f"## {name}", f"Told by {marks}.", told or "There are no settings."]
    return "\n\n".join(parts) + "\n"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _stub() -> str:
    """The public names as imports, which is what the lazy table means."""
    places = sorted((module, name) for name, module in sparselex._PUBLIC.items())
    lines = [f"from {module} import {name} as {name}" for module, name in places]
    told = "# What `sparselex/__init__.py` loads on first use, for type checkers. Made by `python docs/generate.py`."
    return "\n".join([told, *lines, "", "__all__: list[str]"]) + "\n"


def _cli_page() -> str:
    group = typer.main.get_command(app)
    context = typer.Context(group, info_name="sparselex")
    parts = ["# Verbs and options", NOTE, _prose(group.help or ""), _params(group)]
    for name in group.list_commands(context):
        verb = group.get_command(context, name)
        parts += [f"## sparselex {name}", _usage(name, verb), _prose(verb.help or ""), _params(verb)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _usage(name: str, verb: Any) -> str:
    taken = [param for param in verb.params if param.param_type_name == "argument"]
    words = [_name(param) if param.required else f"[{_name(param)}]" for param in taken]
    return f"```text\n{' '.join(['sparselex', name, *words, '[OPTIONS]'])}\n```"


def _params(verb: Any) -> str:
    return "\n".join(_param(param) for param in verb.params if not param.hidden)


def _param(param: Any) -> str:
    if param.param_type_name == "argument":
        names, facts = [_name(param)], []
    else:
        names, facts = [*param.opts, *param.secondary_opts], [] if param.is_flag else [f"`{_value(param)}`"]
    facts += ["may be repeated"] if param.multiple else []
    facts += ["required"] if param.required else _default_of(param)
    shown, told = ", ".join(f"`{name}`" for name in names), _prose(param.help or "")
    return f"- {shown} ({', '.join(facts)}): {told}" if facts else f"- {shown}: {told}"


def _name(argument: Any) -> str:
    return (argument.metavar or argument.name.upper()).strip("[]")


def _value(option: Any) -> str:
    """What an option takes: its kind and the ends of its range."""
    kind = option.metavar or _shown(option.type_descriptor.annotation)
    ends = {"from": option.min, "to": option.max}
    return " ".join([kind, *(f"{word} {end}" for word, end in ends.items() if end is not None)])


def _default_of(param: Any) -> list[str]:
    value = param.default
    if isinstance(value, bool):
        named = (param.opts if value else param.secondary_opts)[:1]
        return [f"default `{name}`" for name in named]
    return [f"default `{value}`"] if isinstance(value, str | int | float | Path) else []


def _classes() -> Iterator[type[BaseModel]]:
    """Every configuration and record of the package. Which files have one is told from their source, so that nothing
    else is imported."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted((SRC / "sparselex").rglob("*.py"))}
    found = [(path, node) for path, tree in trees.items() for node in tree.body if isinstance(node, ast.ClassDef)]
    known, size = {"Config"}, 0
    while size < len(known):
        size = len(known)
        known |= {node.name for _, node in found if known & {ast.unparse(base).split("[")[0] for base in node.bases}}
    for path, node in found:
        if node.name in known - {"Config"} and not node.name.startswith("_"):
            module = ".".join(path.relative_to(SRC).with_suffix("").parts)
            cls = getattr(importlib.import_module(module), node.name)
            if issubclass(cls, BaseModel):  # other classes may have the names of these
                yield cls


def _divided(classes: list[type[BaseModel]]) -> tuple[list[type[BaseModel]], list[type[BaseModel]]]:
    """Configurations, which are the classes called so, the stages, and all that these contain; and the records that are
    left."""
    reached = {cls for cls in classes if any(_is_set_by_people(base.__name__) for base in cls.__mro__)}
    size = 0
    while size < len(reached):
        size = len(reached)
        held = {
            cls for owner in reached for field in owner.model_fields.values() for cls in _mentioned(field.annotation)
        }
        reached |= held & set(classes)
    return [cls for cls in classes if cls in reached], [cls for cls in classes if cls not in reached]


def _is_set_by_people(name: str) -> bool:
    return name == "Stage" or (name != "Config" and name.endswith("Config"))


def _mentioned(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from _mentioned(part)


def _fields_page(title: str, told: str, classes: list[type[BaseModel]]) -> str:
    parts, room = [f"# {title}", NOTE, told], ""
    for cls in classes:
        place = cls.__module__.split(".")[1]
        if place != room:
            room = place
            parts.append(f"## {room}")
        fields = [_field(name, field) for name, field in cls.model_fields.items()]
        parts += [f"### {cls.__name__}", f"{_prose(cls.__doc__ or '')}\n\n`{cls.__module__}`", "\n".join(fields)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _field(name: str, field: FieldInfo) -> str:
    kind = _bounded(_shown(field.annotation), field.metadata)
    default = "required" if field.is_required() else f"default `{_default(field)}`"
    return f"- `{name}` (`{kind}`, {default}): {_prose(field.description or '')}"


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    return _written(value)


def _written(value: Any) -> str:
    """A value as a person would write it: of a configuration, only what differs from its own defaults."""
    if not isinstance(value, BaseModel):
        return repr(value)
    fields = type(value).model_fields
    changed = {name: getattr(value, name) for name, field in fields.items() if _is_set(value, name, field)}
    return f"{type(value).__name__}({', '.join(f'{name}={_written(item)}' for name, item in changed.items())})"


def _is_set(value: BaseModel, name: str, field: FieldInfo) -> bool:
    default = field.get_default(call_default_factory=True, validated_data={})
    return default is PydanticUndefined or getattr(value, name) != default


def _shown(kind: Any) -> str:
    """A type as it would be annotated, aliases spelled out."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _bounded(_shown(parts[0]), parts[1:])
    if origin is Literal:
        return " | ".join(map(repr, parts))
    if origin in (Union, types.UnionType):
        return " | ".join(map(_shown, parts))
    if kind is type(None) or kind is Ellipsis:
        return "None" if kind is type(None) else "..."
    name = getattr(origin or kind, "__name__", str(kind))
    return f"{name}[{', '.join(map(_shown, parts))}]" if parts else name


def _bounded(shown: str, metadata: Any) -> str:
    bounds = [
        f"{sign} {getattr(item, name)}" for item in metadata for name, sign in _BOUNDS.items() if hasattr(item, name)
    ]
    lengths = [
        f"{words} {getattr(item, name)} long"
        for item in metadata
        for name, words in _LENGTHS.items()
        if getattr(item, name, None) is not None
    ]
    return " ".join([shown, ", ".join([*bounds, *lengths])]).strip()


def _prose(text: str) -> str:
    """Paragraphs with each on one line."""
    return "\n\n".join(re.sub(r"\s+", " ", part).strip() for part in re.split(r"\n\s*\n", text.strip()))


if __name__ == "__main__":
    for path, text in generated().items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))
