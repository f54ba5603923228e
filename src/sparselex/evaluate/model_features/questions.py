"""What is asked of a dictionary as one of the model, and which figures answer: a question that several figures of one
experiment answer, such as steps of several lengths, is one question."""

from typing import NamedTuple


class Said(NamedTuple):
    """How a figure stands in an answer."""

    question: str
    """The name of the question that it answers."""

    figure: str
    """What it is, with what is behind its name in place of `{step}`."""

    null: str
    """What its null is."""


QUESTIONS: dict[str, str] = {
    "relevance": "Are its latents read more than directions drawn as activations vary?",
    "unread": "Has it fewer unread latents than directions drawn as activations vary would have?",
    "unread_variance": "Does it spend less of its variance on unread latents than chance?",
    "read_span": "Does more of its latents lie in what is read than of the activations' variance?",
    "sensitivity": "Do predictions move more along its latents than along directions drawn as activations vary (steps "
    "in median distances of an activation from the mean)?",
    "ablated": "Do predictions move more without a latent than by another step of its size?",
    "error_ratio": "Does the model mind its error less than steps of the error's size as activations differ?",
    "attribution": "Do gradients say what taking latents away does?",
    "dose": "Does steering by a latent do more for its tokens than steering by another at equal divergence?",
    "dose_specific": "Is more of what steering by a latent does for the latent's own tokens than of what another does?",
    "jacobian_edges": "Do later latents depend on fewer of its latents than of others in their place?",
    "composed_share": "Are fewer latents made of two others than of two drawn at random?",
}
"""By their names, in the order of the card; yes speaks for the dictionary."""

_DRAWN = "of directions drawn as activations vary"
_PAIR = "with another's activation"

FIGURES: dict[str, Said] = {
    "relevance": Said("relevance", "median relevance", _DRAWN),
    "above_covariance": Said("relevance", "share of latents above half of such directions", "by chance"),
    "unread": Said("unread", "share of latents", _DRAWN),
    "unread_variance": Said("unread_variance", "share of the variance", "by chance"),
    "read_span": Said("read_span", "median share of a latent's squared length", "of the variance"),
    "sensitivity": Said("sensitivity", "along latents by steps of {step}", "along another drawn direction"),
    "ablated": Said("ablated", "ratio of both", "of two such steps"),
    "error_ratio": Said("error_ratio", "ratio of both", "of two such steps"),
    "attribution": Said("attribution", "rank correlation of both", _PAIR),
    "attribution_integrated": Said("attribution", "of integrated gradients", _PAIR),
    "dose": Said("dose", "gain in probability at {step} nats", "by another latent"),
    "dose_specific": Said("dose_specific", "share at {step} nats", "of another latent's"),
    "jacobian_edges": Said("jacobian_edges", "share of entries", "of others"),
    "composed_share": Said("composed_share", "share of latents", "of two drawn at random"),
}
"""By what a figure is called, without its path and the number behind it."""
