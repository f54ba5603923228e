"""All trainable types by name."""

from typing import Annotated

import torch
from pydantic import Field

from sparselex.base.registry import Registry
from sparselex.dictionaries.batchtopk import BatchTopK, BatchTopKConfig
from sparselex.dictionaries.dictionary import TrainableDictionary
from sparselex.dictionaries.relu import ReLU, ReLUConfig
from sparselex.dictionaries.topk import TopK, TopKConfig

AnyDictionaryConfig = Annotated[BatchTopKConfig | TopKConfig | ReLUConfig, Field(discriminator="kind")]
"""The configuration of any trainable type, told apart by `kind`."""

DICTIONARIES: Registry[type[TrainableDictionary]] = Registry(
    "dictionary", {"batchtopk": BatchTopK, "topk": TopK, "relu": ReLU}
)
"""Trainable types by `kind`."""


def new_dictionary(config: AnyDictionaryConfig, generator: torch.Generator | None = None) -> TrainableDictionary:
    """A freshly initialised dictionary."""
    return DICTIONARIES.get(config.kind)(config, generator)
