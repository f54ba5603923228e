"""All trainable types by name: ours, and those that other packages register."""

from collections.abc import Mapping
from typing import Annotated, Any, get_args, get_type_hints

import torch
from pydantic import PlainValidator, SerializeAsAny

from sparselex.base.errors import UserError
from sparselex.dictionaries.dictionary import DictionaryConfig, TrainableDictionary
from sparselex.dictionaries.kinds import DICTIONARIES
from sparselex.dictionaries.ranks import ALONE, Ranks


def config_type(kind: str) -> type[DictionaryConfig]:
    """The configuration of the type `kind`: what its class declares as `config: OwnConfig`.

    Raises `UserError` for an unknown name, and for a plug-in that is no trainable type or whose configuration does not
    bear its name.
    """
    found = DICTIONARIES.get(kind)
    if not (isinstance(found, type) and issubclass(found, TrainableDictionary)):
        raise _unfit(kind, f"{found!r} is no subclass of TrainableDictionary")
    declared = get_type_hints(found)["config"]
    field = declared.model_fields.get("kind")
    if field is None or get_args(field.annotation) != (kind,) or field.default != kind:
        raise _unfit(kind, f"its configuration, {declared.__name__}, is not of that kind")
    return declared


def kind_of(config: DictionaryConfig) -> str:
    """Name of the type that `config` configures."""
    return config.to_json()["kind"]


def _unfit(kind: str, what: str) -> UserError:
    return UserError(
        f"What is registered as the dictionary {kind!r} cannot be trained: {what}.",
        "a subclass of TrainableDictionary that declares `config: OwnConfig`, which is a DictionaryConfig with the "
        "field "
        f'`kind: Literal["{kind}"] = "{kind}"`',
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


def new_dictionary(
    config: DictionaryConfig, generator: torch.Generator | None = None, ranks: Ranks = ALONE
) -> TrainableDictionary:
    """A freshly initialised dictionary; of processes that share its latents, the part of this one."""
    return DICTIONARIES.get(kind_of(config))(config, generator, ranks)
