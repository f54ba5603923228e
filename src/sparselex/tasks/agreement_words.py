"""Nouns for prompts about number. Each has its plural with an `s`; a tokenizer keeps those of which it has both forms
as one token."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


SUBJECTS = _words(
    """
    teacher doctor farmer singer writer student driver player painter worker soldier lawyer manager actor artist
    brother sister friend neighbor visitor guest dog bird cat horse boy girl king queen parent officer guard
    prisoner tourist pilot nurse judge poet cow pig rabbit lion tiger engineer scientist leader member customer
    owner patient uncle cousin daughter hunter dancer designer
    """
)
"""Who or what the verb is about."""

NEAR = _words(
    """
    car tree wall door window tower bridge garden road river hill rock boat train truck desk shop sign gate
    fence lake mountain building station school hospital hotel camp field tent machine engine plant farm
    """
)
"""What stands in between; none of them in a template."""
