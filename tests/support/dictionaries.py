"""A dictionary of every type and shape that tests hold to the same promises, with nothing left at its start."""

import torch

from sparselex.dictionaries.trainable import new_dictionary
from sparselex.dictionaries.types.abstopk import AbsTopKConfig
from sparselex.dictionaries.types.archetypal import ArchetypalConfig
from sparselex.dictionaries.types.batchtopk import BatchTopKConfig
from sparselex.dictionaries.types.clt import CrossLayerConfig
from sparselex.dictionaries.types.gated import GatedConfig
from sparselex.dictionaries.types.jumprelu import JumpReLUConfig
from sparselex.dictionaries.types.matching_pursuit import MatchingPursuitConfig
from sparselex.dictionaries.types.matryoshka import MatryoshkaConfig
from sparselex.dictionaries.types.panneal import PAnnealConfig
from sparselex.dictionaries.types.relu import ReLUConfig
from sparselex.dictionaries.types.topk import TopKConfig

SIZE = {"d_in": 12, "d_sae": 40}
CONFIGS = {
    "relu": ReLUConfig(**SIZE, l1=2.0),
    "relu 2023": ReLUConfig(**SIZE, l1=2.0, convention="2023"),
    "topk": TopKConfig(**SIZE, k=5),
    "batchtopk": BatchTopKConfig(**SIZE, k=5),
    "jumprelu": JumpReLUConfig(**SIZE, target_l0=5),
    "jumprelu l0": JumpReLUConfig(**SIZE, sparsity="l0", weight=3.0),
    "jumprelu everything": JumpReLUConfig(**SIZE, sparsity="tanh", gradient="everything", bandwidth=2.0),
    "gated": GatedConfig(**SIZE, l1=2.0),
    "matryoshka": MatryoshkaConfig(**SIZE, k=5, prefixes=(0.2, 0.5)),
    "panneal": PAnnealConfig(**SIZE, l1=2.0),
    "abstopk": AbsTopKConfig(**SIZE, k=5),
    "transcoder topk": TopKConfig(**SIZE, k=5, d_out=9),
    "transcoder batchtopk": BatchTopKConfig(**SIZE, k=5, d_out=9),
    "transcoder relu": ReLUConfig(**SIZE, l1=2.0, d_out=9),
    "transcoder jumprelu": JumpReLUConfig(**SIZE, target_l0=5, d_out=9),
    "skip transcoder jumprelu": JumpReLUConfig(**SIZE, sparsity="l0", weight=3.0, d_out=9, skip=True),
    "skip transcoder gated": GatedConfig(**SIZE, l1=2.0, d_out=9, skip=True),
    "skip transcoder matryoshka": MatryoshkaConfig(**SIZE, k=5, prefixes=(0.2, 0.5), d_out=9, skip=True),
    "crosscoder relu": ReLUConfig(**SIZE, l1=2.0, parts=(5, 3, 4)),
    "crosscoder batchtopk": BatchTopKConfig(**SIZE, k=5, parts=(5, 7)),
    "crosscoder jumprelu": JumpReLUConfig(**SIZE, sparsity="tanh", gradient="everything", bandwidth=2.0, parts=(5, 7)),
    "matching_pursuit": MatchingPursuitConfig(**SIZE, k=5),
    "matching_pursuit product": MatchingPursuitConfig(**SIZE, k=5, step="product", stop_left=1.5, stop_at_repeat=True),
    "archetypal": ArchetypalConfig(**SIZE, k=5, n_points=30, delta=1.0),
    "clt": CrossLayerConfig(**SIZE, k=5, d_out=9, layers_in=(5, 7), layers_out=(6, 3)),
}


def make(kind):
    """A dictionary with nothing left at its initial zero or one."""
    generator = torch.Generator().manual_seed(1)
    dictionary = new_dictionary(CONFIGS[kind], generator)
    with torch.no_grad():
        for parameter in dictionary.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
        if hasattr(dictionary, "threshold"):
            dictionary.threshold.abs_().add_(1.0)
        if getattr(dictionary, "gains", None) is not None:
            dictionary.gains.copy_((0.8 + 0.4 * torch.rand(40, generator=generator)) / dictionary.W_dec.norm(dim=-1))
    return dictionary


def inputs(n=32):
    return torch.randn(n, 12, generator=torch.Generator().manual_seed(2))
