"""The names of things that can be trained: all types of dictionary, and what a person chooses about them. Nothing here
loads PyTorch."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from sparselex.base.registry import Registry

DICTIONARIES: Registry[Any] = Registry(
    "dictionary",
    {
        "batchtopk": "sparselex.dictionaries.types.batchtopk:BatchTopK",
        "topk": "sparselex.dictionaries.types.topk:TopK",
        "relu": "sparselex.dictionaries.types.relu:ReLU",
        "jumprelu": "sparselex.dictionaries.types.jumprelu:JumpReLU",
        "gated": "sparselex.dictionaries.types.gated:Gated",
        "matryoshka": "sparselex.dictionaries.types.matryoshka:Matryoshka",
        "panneal": "sparselex.dictionaries.types.panneal:PAnneal",
        "abstopk": "sparselex.dictionaries.types.abstopk:AbsTopK",
        "matching_pursuit": "sparselex.dictionaries.types.matching_pursuit:MatchingPursuit",
        "archetypal": "sparselex.dictionaries.types.archetypal:Archetypal",
        "clt": "sparselex.dictionaries.types.clt:CrossLayerTranscoder",
    },
)
"""Trainable types by `kind`. Other packages add theirs through entry points of the group `sparselex.dictionary`."""


def _known(kind: str) -> str:
    if kind not in DICTIONARIES.names():
        DICTIONARIES.get(kind)  # says which names there are
    return kind


Kind = Annotated[str, AfterValidator(_known)]
"""Name of a trainable type."""


SelectionDtype = Literal["float32", "bfloat16"]
"""Precision of the product that chooses latents in training. With `bfloat16` a few more than needed are chosen and
ranked by their exact values, so choices differ only among near equals at the cut; values and gradients are float32
either way. It pays on processors that multiply bfloat16 in hardware (three times faster there, slower elsewhere)."""


Frozen = Literal["nothing", "decoder", "soft_decoder", "encoder"]
"""What stays as it was drawn.

`decoder`: `W_dec`, so that only encoder, biases and thresholds learn. `soft_decoder`: rows of `W_dec` learn inside a
cone around their first direction. `encoder`: `W_enc`, direction and norm of every latent; biases, thresholds and the
decoder learn. Nothing is lost with the norm: selection, thresholds and penalties look at contributions, and the norms
of decoder rows, which learn, set their scale.
"""
