"""Fields whose value is a name of a registry."""

from typing import Any, NamedTuple

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from sparselex.base.registry import Registry


class KnownIn(NamedTuple):
    """Written behind the type of a field, `Annotated[str, KnownIn(REGISTRY)]`: its value is one of the names there are,
    which the command line lists. Nothing is loaded for that. Raises `UserError` with the nearest names for another."""

    registry: Registry[Any]
    """Whose names."""

    def check(self, name: str) -> str:
        """The same name, if there is such a one."""
        if name not in self.registry.names():
            raise self.registry.unknown(name)
        return name

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))


class Among(KnownIn):
    """The same for a field that takes other values too: the names are only listed."""

    def check(self, name: str) -> str:
        """Any name."""
        return name
