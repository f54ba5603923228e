"""Configurations by the name of their type: ours, and those that other packages register. PyTorch is loaded with the
first type that is asked for, not with this file."""

from collections.abc import Mapping
from typing import Annotated, Any, get_args, get_type_hints

from pydantic import PlainValidator, SerializeAsAny

from sparselex.base.errors import UserError
from sparselex.dictionaries.config import DictionaryConfig, kind_in
from sparselex.dictionaries.kinds import DICTIONARIES, type_of


def config_type(kind: str) -> type[DictionaryConfig]:
    """The configuration of the type `kind`: what its class declares as `config: OwnConfig`.

    Raises `UserError` for an unknown name, and for a plug-in that is no trainable type or whose configuration does not
    bear its name.
    """
    found = type_of(kind)
    declared = get_type_hints(found).get("config") if isinstance(found, type) else None
    if not (isinstance(declared, type) and issubclass(declared, DictionaryConfig)):
        raise _unfit(kind, f"{found!r} is no subclass of TrainableDictionary")
    field = declared.model_fields.get("kind")
    if field is None or get_args(field.annotation) != (kind,) or field.default != kind:
        raise _unfit(kind, f"its configuration, {declared.__name__}, is not of that kind")
    return declared


def reads_one_site(kind: str, d_in: int) -> bool:
    """Whether a type is an autoencoder of one site of this width."""
    try:
        config_type(kind).fields_at((d_in,), (), 1)
    except UserError:
        return False
    return True


def kind_of(config: DictionaryConfig) -> str:
    """Name of the type that `config` configures."""
    return kind_in(type(config))


def _unfit(kind: str, what: str) -> UserError:
    field = f'`kind: Literal["{kind}"] = "{kind}"`'
    return UserError(
        f"What is registered as the dictionary {kind!r} cannot be trained: {what}.",
        f"a subclass of TrainableDictionary that declares `config: OwnConfig`, a DictionaryConfig with {field}",
        "mend the package that registers it.",
    )


def _by_kind(values: Any) -> DictionaryConfig:
    """The configuration meant by `values`: one already, or a mapping with `kind`. A `ValidationError` raised here is
    taken up by the configuration that this one is part of, with the place of each complaint."""
    fields = values.to_json() if isinstance(values, DictionaryConfig) else values
    kind = fields.get("kind") if isinstance(fields, Mapping) else None
    if not isinstance(kind, str):
        raise ValueError(f"a mapping with the field kind is needed, which is one of {', '.join(DICTIONARIES.names())}")
    return config_type(kind).model_validate(values)


AnyDictionaryConfig = Annotated[SerializeAsAny[DictionaryConfig], PlainValidator(_by_kind)]
"""The configuration of any trainable type, told apart by `kind`."""
