"""Configuration: frozen values that refuse what they do not know."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from sparselex.base.errors import UserError
from sparselex.base.reading import json_file

ConfigT = TypeVar("ConfigT", bound="Config")


_MOST_COMPLAINTS = 20
"""Mistakes that one message names: a file may hold a million, and a near name is sought for each."""

_KINDS: dict[Any, str] = {str: "TEXT", int: "INTEGER", float: "NUMBER"}
"""What values of options are called in their help."""


class Config(BaseModel):
    """Base of every configuration and record: frozen, unknown keys refused, field docstrings kept as help."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @classmethod
    def parse(cls, values: Any, origin: str = "the given values", *, names: Mapping[str, str] | None = None) -> Self:
        """Validate `values` (a mapping) and turn every complaint into one `UserError` that names `origin`.

        `names` says what fields are called where the values come from, such as `--tokens` for `n_tokens`.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise _explained(cls, error, origin, names or {}) from None

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Read a JSON file. Raises `UserError` if it is missing, is no JSON, or does not fit the fields."""
        return cls.parse(json_of(Path(path), f"a JSON file with the fields of {cls.__name__}"), str(path))

    def part(self, kind: type[ConfigT]) -> ConfigT:
        """The fields of `kind`, one of the configurations that this one is made of, as one of that kind alone."""
        return kind(**{name: getattr(self, name) for name in kind.model_fields})

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values, enough to build the same configuration again."""
        return self.model_dump(mode="json")


def json_of(path: Path, expected: str) -> Any:
    """The JSON value in a file; `expected` says what it should hold. Raises `UserError` if it is missing or no
    JSON."""
    try:
        return json_file(path)
    except FileNotFoundError:
        given, todo = f"The file {path} does not exist.", "check the path, or make the file anew."
    except (OSError, ValueError) as error:
        given, todo = f"The file {path} cannot be read: {error}.", "check the file's contents, or make it anew."
    raise UserError(given, expected, todo)


def first_complaint(error: ValidationError) -> str:
    """The first of what is wrong, with the field that it is about."""
    item = error.errors()[0]
    where = ".".join(map(str, item["loc"]))
    return f"{where}: {item['msg']}" if where else item["msg"].removeprefix("Value error, ")


def _explained(cls: type[BaseModel], error: ValidationError, origin: str, names: Mapping[str, str]) -> UserError:
    """What is wrong, what is expected there, and what to do: all fields are named where one is unknown, else those
    alone that were complained of."""
    complaints, advice, about = [], [], list[str]()
    fields = {field.alias or name: field for name, field in cls.model_fields.items()}
    for item in error.errors()[:_MOST_COMPLAINTS]:
        parts = [names.get(str(part), str(part)) for part in item["loc"]]
        where = ".".join(parts) or cls.__name__
        about += [str(item["loc"][0])] if item["loc"] else []
        if item["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(item["loc"][-1]), fields, n=1)
            complaints.append(f"unknown key {where!r}")
            advice.append(f"did you mean {near[0]!r}?" if near else f"remove {where!r}.")
        elif item["type"] == "missing":
            complaints.append(f"{where} is missing")
            advice.append(f"give {where}{_kind(fields.get(str(item['loc'][0])), where)}.")
        else:
            said = item["msg"].removeprefix("Value error, ")
            # Of values that do not go together all would be given: the words name those that matter.
            together = not item["loc"] and item["type"] == "value_error"
            complaints.append(said if together else f"{where}: {said} (given: {item['input']!r})"[:400])
    named = {names.get(name, name): fields[name].description for name in dict.fromkeys(about) if name in fields}
    if any(item["type"] in ("extra_forbidden", "model_type") for item in error.errors()):
        expected = f"the fields of {cls.__name__}: {', '.join(names.get(name, name) for name in fields)}"
    else:
        expected = "; ".join(f"{name}: {_brief(said)}" for name, said in named.items()) or "values that go together"
    return UserError(
        f"{origin}: " + "; ".join(complaints) + ".", expected, " ".join(advice) or "correct the values named above."
    )


def _kind(field: FieldInfo | None, where: str) -> str:
    """What stands behind an option; nothing behind what is none."""
    if field is None or not where.startswith("--"):
        return ""
    return f" {_KINDS.get(field.annotation, 'VALUE')}"


def _brief(description: str | None) -> str:
    """A field's docstring in one line, without its stop."""
    return " ".join((description or "see the documentation").split()).removesuffix(".")
