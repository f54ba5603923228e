"""All trainable types by name."""

from typing import Annotated, Literal

import torch
from pydantic import Field

from sparselex.base.registry import Registry
from sparselex.dictionaries.abstopk import AbsTopK, AbsTopKConfig
from sparselex.dictionaries.archetypal import Archetypal, ArchetypalConfig
from sparselex.dictionaries.batchtopk import BatchTopK, BatchTopKConfig
from sparselex.dictionaries.clt import CrossLayerConfig, CrossLayerTranscoder
from sparselex.dictionaries.dictionary import TrainableDictionary
from sparselex.dictionaries.gated import Gated, GatedConfig
from sparselex.dictionaries.jumprelu import JumpReLU, JumpReLUConfig
from sparselex.dictionaries.matching_pursuit import MatchingPursuit, MatchingPursuitConfig
from sparselex.dictionaries.matryoshka import Matryoshka, MatryoshkaConfig
from sparselex.dictionaries.panneal import PAnneal, PAnnealConfig
from sparselex.dictionaries.ranks import ALONE, Ranks
from sparselex.dictionaries.relu import ReLU, ReLUConfig
from sparselex.dictionaries.topk import TopK, TopKConfig

AnyDictionaryConfig = Annotated[
    BatchTopKConfig
    | TopKConfig
    | ReLUConfig
    | JumpReLUConfig
    | GatedConfig
    | MatryoshkaConfig
    | PAnnealConfig
    | AbsTopKConfig
    | MatchingPursuitConfig
    | ArchetypalConfig
    | CrossLayerConfig,
    Field(discriminator="kind"),
]
"""The configuration of any trainable type, told apart by `kind`."""

Kind = Literal[
    "batchtopk",
    "topk",
    "relu",
    "jumprelu",
    "gated",
    "matryoshka",
    "panneal",
    "abstopk",
    "matching_pursuit",
    "archetypal",
    "clt",
]
"""Names of the trainable types."""

DICTIONARIES: Registry[type[TrainableDictionary]] = Registry(
    "dictionary",
    {
        "batchtopk": BatchTopK,
        "topk": TopK,
        "relu": ReLU,
        "jumprelu": JumpReLU,
        "gated": Gated,
        "matryoshka": Matryoshka,
        "panneal": PAnneal,
        "abstopk": AbsTopK,
        "matching_pursuit": MatchingPursuit,
        "archetypal": Archetypal,
        "clt": CrossLayerTranscoder,
    },
)
"""Trainable types by `kind`."""


def new_dictionary(
    config: AnyDictionaryConfig, generator: torch.Generator | None = None, ranks: Ranks = ALONE
) -> TrainableDictionary:
    """A freshly initialised dictionary; of processes that share its latents, the part of this one."""
    return DICTIONARIES.get(config.kind)(config, generator, ranks)
