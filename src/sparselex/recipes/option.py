"""How a field of a configuration stands on the command line, where its own name does not say it."""

from typing import NamedTuple

from pydantic.fields import FieldInfo


class Option(NamedTuple):
    """Written behind the type of a field: `Annotated[int, Option("--tokens")]`."""

    name: str = ""
    """The option; empty for the field's own name with dashes."""

    metavar: str = ""
    """What stands for the value in the help."""

    positional: bool = False
    """Whether it is an argument and no option."""

    hidden: bool = False
    """Whether the command line leaves it out: the library and files set it."""

    in_passing: bool = False
    """Whether it changes how the work is done and never what comes out: it is not kept, and nothing is done anew for
    its sake."""

    json_file: bool = False
    """Whether the value is read from a JSON file."""

    pairs: bool = False
    """Whether the value is a dictionary, given as NAME=VALUE again and again."""


def option_of(field: FieldInfo) -> Option:
    """What is written behind the type of a field, or the default."""
    return next((item for item in field.metadata if isinstance(item, Option)), Option())


def flag_of(name: str, field: FieldInfo) -> str:
    """The option that sets the field called `name`."""
    return option_of(field).name or "--" + name.replace("_", "-")
