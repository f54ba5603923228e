"""An example as plain text, to be kept where the corpus may be gone."""

from sparselex.features.windows import ExampleView

BEFORE, BEHIND = 160, 80
"""Characters around the example's own place."""


def around(example: ExampleView) -> str:
    """The text around an example's place, the place itself between ‹ and ›."""
    peak = next((number for number, span in enumerate(example.spans) if span.peak), 0)
    before = "".join(span.text for span in example.spans[:peak])
    behind = "".join(span.text for span in example.spans[peak + 1 :])
    here = example.spans[peak].text if example.spans else ""
    whole = f"{'…' * (len(before) > BEFORE)}{before[-BEFORE:]}‹{here}›{behind[:BEHIND]}{'…' * (len(behind) > BEHIND)}"
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "\ufffd" for letter in whole).strip()
