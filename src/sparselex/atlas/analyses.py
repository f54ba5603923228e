"""The analyses of a dictionary that one command takes one after the other: what each is called and what it asks. Plain
words, read by pages and the command line without PyTorch."""

from typing import NamedTuple

VERB = "analyse"
"""First word of the verbs that take them."""


class AnalysisCard(NamedTuple):
    """What a reader is told of an analysis before it is made."""

    title: str
    """What its page is called."""

    question: str
    """What it asks."""


ANALYSES = {
    "census": AnalysisCard(
        "Census of densities", "Which latents never live, and is there a cluster of very rare ones?"
    ),
    "neurons": AnalysisCard("Held against neurons", "Is a latent more than a neuron?"),
    "proxies": AnalysisCard("Concepts", "Which latents carry concepts that rules of the text tell?"),
    "universality": AnalysisCard("Universality", "Does another model, or another training, have the same latents?"),
    "splitting": AnalysisCard("Splitting", "Into which latents of wider dictionaries does a latent split?"),
    "relatives": AnalysisCard("Relatives", "Which latents lie inside others, and which texts tell the two apart?"),
    "automata": AnalysisCard("Automata", "Which latents raise tokens on which others are active next?"),
    "pinned": AnalysisCard("Pinned sampling", "Does the model write what a latent is for where it is held active?"),
    "logits": AnalysisCard(
        "Explanations of logits", "Does the explanation of a latent say which tokens it makes likely?"
    ),
    "intervals": AnalysisCard("Explanations by activation", "Does an explanation hold at every size of activation?"),
}
"""All of them by name, in the order in which they are taken. The name is the second word of the verb, the artifact of
the run, and the last part of the page's address."""


def verb_of(name: str) -> str:
    """The verb that takes an analysis."""
    return f"{VERB} {name}"
