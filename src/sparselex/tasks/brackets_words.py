"""Names for prompts of Python source. A tokenizer keeps those that it has as one token, behind a bracket and behind a
space. Names behind which source goes on before it closes anything (`node.`, `type(`, `start:`) are left out: of those
that are here, the embedded model finds the closing bracket likeliest on more than three prompts of four."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


INSIDE = _words(
    """
    name key value item line path index text size pos number offset count result obj code other mode string
    width module right msg char word i x
    """
)
"""What is inside of brackets."""

OUTSIDE = _words(
    """
    names items values lines args keys parts files fields options cache stack queue data groups params kwargs
    info entries buffer
    """
)
"""What stands before a bracket."""
