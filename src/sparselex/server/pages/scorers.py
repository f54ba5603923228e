"""What pages say of each scorer: how it works, what its null is, and what it said of a window."""

from typing import Literal, NamedTuple

from sparselex.explain.asking.judging import KINDS

Reads = Literal["fits", "likelier", "named", "value"]
"""What a number that was said of a window means: whether it fits, whether the explanation is likelier there, whether
the intruder was named, or no more than a number."""

_ANOTHER = (
    "The null is the same by another latent’s explanation on the same windows; it is made for some latents, and "
    "missing for the others."
)
_DOCUMENTS = (
    "Intervals are over test documents (the jackknife), and missing where fewer than five speak of the latent or all "
    "agree."
)


class About(NamedTuple):
    """One scorer in words."""

    how: str
    """How it scores, what its null is, and over what its intervals are."""

    said: str
    """What the number means that stands behind a window, on a line above the windows."""

    reads: Reads = "fits"
    """How that number is held against the truth."""


_VOTE = "What was said: from 0 (does not fit) to 1 (fits); above a half counts as fitting."
_SET = "0 to 1, set so that above a half lie as many windows as the latent is active in"

ABOUT = {
    "exact": About(
        "The activations that the explanation itself predicts are held against those of all test tokens. The null is "
        "the same measure of what the same search finds for the same activations shifted away from their tokens. "
        + _DOCUMENTS,
        "",
        "value",
    ),
    "people": About(
        "People, who do not know which is which, choose between two texts beside windows of test documents. The null "
        "is how another latent’s explanation does in the same ratings. Intervals are Wilson’s, over ratings.",
        "",
        "value",
    ),
    "detection": About(
        f"A language model reads test windows and says which ones the explanation fits. {_ANOTHER} {_DOCUMENTS}", _VOTE
    ),
    "fuzzing": About(
        "A language model reads test windows with tokens marked and says whether the marks are where the explanation "
        f"says. {_ANOTHER} {_DOCUMENTS}",
        _VOTE,
    ),
    "surprisal": About(
        "A language model reads each test window behind the explanation, and behind a note that says nothing: what "
        f"counts is by how many nats the window is likelier. Nobody votes. {_ANOTHER} {_DOCUMENTS}",
        "What was said: the logistic function of the nats by which the window is likelier behind the explanation; "
        "0.5 for no difference.",
    ),
    "embedding": About(
        f"A sentence encoder holds the explanation against each test window; no language model is asked. {_ANOTHER} "
        f"{_DOCUMENTS}",
        f"What was said: the cosine of explanation and window, {_SET}.",
    ),
    "examples": About(
        "A sentence encoder holds each test window against training windows in which the latent is active, and "
        "silent ones. Neither a language model nor the explanation has a part in it: it measures the latent. The null "
        f"has other silent windows in the place of the active ones. {_DOCUMENTS}",
        f"What was said: how much nearer the window is to the active ones by mean cosine, {_SET}.",
    ),
    "intervention": About(
        "The model writes on behind test passages, with the latent amplified and without, and a language model tells "
        "how likely the explanation is behind each. The null is another latent’s explanation behind the same passages; "
        f"it is made for some latents, and missing for the others. {_DOCUMENTS}",
        "Passages as they were written with the latent amplified. What was said: the logistic function of the nats by "
        "which the explanation is likelier there than behind the same passage written without; 0.5 for no difference.",
        "likelier",
    ),
    "intruder": About(
        "A language model is shown five windows with tokens marked, in four of which the latent is active, and names "
        "the fifth. It sees no explanation: this measures the latent. Chance is 0.2; the null is how often a drawn "
        f"number is named where none is the intruder. {_DOCUMENTS}",
        "The intruders, one of each question. What was said: 1 where it was named, 0 where another window was.",
        "named",
    ),
    "logits": About(
        "A language model is given the explanation and a hundred tokens, half of which the latent’s logit weights "
        "raise (ranks 10 to 60) and half drawn at random, and says of each whether the latent makes it likelier. "
        "Chance is 0.5; the null is another latent’s explanation, made for some latents. No document is looked at.",
        "",
    ),
    "simulation": About(
        "A language model says of every token of test windows how active the latent is, as far as it can tell from the "
        f"explanation. {_ANOTHER} {_DOCUMENTS}",
        "What was said: the largest activation that was simulated in the window, as a share of the largest there is.",
        "value",
    ),
    "generation": About(
        "A language model writes passages by the explanation, and the model of the latent reads them. The null are "
        "passages written by another latent’s explanation; it is made for some latents, and missing for the others.",
        "",
    ),
}
"""By the scorer's name."""

OTHER = About("This scorer came with another package. " + _DOCUMENTS, "")
"""Of scorers that other packages bring."""


def about(scorer: str, *, asks: bool) -> About:
    """What is said of a scorer; of one that is not known here, that it `asks` a language model where it does."""
    if scorer in ABOUT:
        return ABOUT[scorer]
    return About(OTHER.how, _VOTE if asks else "")


def verdict(reads: Reads, kind: str, said: float | None) -> str:
    """What was said of a window of a kind against what is true of it: right, wrong, or another word; empty where that
    cannot be told."""
    if said is None or kind not in KINDS or reads == "value":
        return ""
    if reads == "named":
        return "named" if said > 0.5 else "missed"
    if reads == "likelier":
        return "likelier" if said > 0.5 else "not likelier"
    return "right" if (said > 0.5) == (kind == "active") else "wrong"
