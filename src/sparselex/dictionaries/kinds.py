"""The names of dictionaries: all types that can be trained, all controls, and what a person chooses about them. Nothing
here loads PyTorch."""

from typing import Annotated, Any, Literal

from sparselex.base.known import KnownIn
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

MADE: Registry[Any] = Registry(
    "dictionary", {"components": "sparselex.dictionaries.types.components:ComponentsDictionary"}
)
"""Types that are read like those but made of something else than activations, so that nobody chooses to train them."""

CONTROLS: Registry[Any] = Registry(
    "control",
    {
        "neurons": "sparselex.dictionaries.controls.neurons:make_neurons",
        "pca": "sparselex.dictionaries.controls.bases:make_pca",
        "random": "sparselex.dictionaries.controls.rows:make_random",
        "covariance": "sparselex.dictionaries.controls.rows:make_covariance",
        "kmeans": "sparselex.dictionaries.controls.centroids:make_kmeans",
        "ica": "sparselex.dictionaries.controls.bases:make_ica",
    },
)
"""Makers of control dictionaries by name, each a function of `controls.given.Given`. Other packages add theirs through
entry points of the group `sparselex.control`."""


def type_of(kind: str) -> Any:
    """The class of a type by its name, of those that are trained and those that are made. Raises `UserError` for an
    unknown name."""
    return (MADE if kind in MADE.names() else DICTIONARIES).get(kind)


def kinds() -> list[str]:
    """The names of all types that a dictionary on disk may have."""
    return [*DICTIONARIES.names(), *MADE.names()]


Kind = Annotated[str, KnownIn(DICTIONARIES)]
"""Name of a trainable type."""

Control = Annotated[str, KnownIn(CONTROLS)]
"""Name of a control dictionary."""

TokenNorm = Literal["none", "layer", "length", "mean"]
"""What a token is brought to before it is coded. `layer`: its mean over coordinates is subtracted and its standard
deviation divided out (with d - 1, and 1e-5 added, as OpenAI's `sparse_autoencoder` and SAELens have it). `length`: it
is scaled to the length sqrt(d). `mean`: its mean over coordinates is subtracted, as TransformerLens takes it out of
the residual stream with `center_writing_weights`."""

Gradients = Literal["auto", "sparse", "dense", "bfloat16"]
"""How codes are decoded and weight gradients summed. `sparse`: over active latents only. `dense`: the same mathematics
left to autograd, the reference that tests hold the first against. `auto` takes whichever is faster for the codes at
hand. `bfloat16` is `sparse` reading inputs, decoder rows and gradients rounded to bfloat16, half the bytes on a GPU;
sums and weights stay float32."""

SelectionDtype = Literal["float32", "bfloat16"]
"""Precision of the product that chooses latents in training. With `bfloat16` a few more than needed are chosen and
ranked by their exact values, so choices differ only among near equals at the cut; values and gradients are float32
either way. It pays on processors that multiply bfloat16 in hardware (three times faster there, slower elsewhere)."""

Finish = Literal["nothing", "kl", "e2e", "downstream", "attribution", "influence"]
"""What the last tokens of a training are trained on, beside or instead of reconstruction."""

Frozen = Literal["nothing", "decoder", "soft_decoder", "encoder"]
"""What stays as it was drawn.

`decoder`: `W_dec`, so that only encoder, biases and thresholds learn. `soft_decoder`: rows of `W_dec` learn inside a
cone around their first direction. `encoder`: `W_enc`, direction and norm of every latent; biases, thresholds and the
decoder learn. Nothing is lost with the norm: selection, thresholds and penalties look at contributions, and the norms
of decoder rows, which learn, set their scale.
"""
