"""Examples and bars as HTML. By hand and not by a template: a page has hundreds of them, and a template's words around
each would cost more than all the rest of the page."""

import re
from collections.abc import Iterable

from markupsafe import Markup, escape

from sparselex.base.formats import number
from sparselex.features.windows import ExampleView, Span
from sparselex.server.charts import Bar

_CUT = '<span class="cut">…</span>'


def examples(views: Iterable[ExampleView], feature: str = "") -> Markup:
    """Examples, one behind the other, as items of a list; with links to all the text around them where the address of
    their `feature` is given."""
    return Markup("".join(_example(view, feature=feature) for view in views))


def example(view: ExampleView, words: str, feature: str = "") -> Markup:
    """One example; in place of its value stand `words`."""
    return Markup(_example(view, words, feature))


def bars(found: Iterable[Bar]) -> Markup:
    """The bars of a histogram that have a height."""
    return Markup("".join([_bar(bar) for bar in found if bar.height]))


def _bar(bar: Bar) -> str:
    place = f'x="{bar.x}" y="{bar.y}" width="{bar.width}" height="{bar.height}"'
    return f"<rect {place}><title>{escape(bar.label)}</title></rect>"


def _example(view: ExampleView, words: str = "", feature: str = "") -> str:
    before, after = _CUT if view.cut_before else "", _CUT if view.cut_after else ""
    place = f"at {view.position}"
    if feature:
        address = f"{feature}/at/{view.position}"
        place = f'<a class="whole-text" href="{escape(address)}" title="All the text around it">{place}</a>'
    return (
        f'<li data-value="{view.value}">\n'
        f'<p class="tokens" dir="auto">{before}{"".join(map(_span, view.spans))}{after}</p>\n'
        f'<p class="source"><b>{escape(words or number(view.value, 3))}</b> {escape(view.document)} '
        f'<span class="position">{place}</span></p>\n'
        "</li>\n"
    )


_DIGITS = "01234567899"
"""Digit of each level of heat: steps of a tenth of the largest activation, the upper two as one; 0 is silence alone."""


def _span(span: Span) -> str:
    if not (span.level or span.peak):
        return escape(span.text)
    heat, place = f" h{span.level}" if span.level else "", ' peak" tabindex="0' if span.peak else '" tabindex="-1'
    digit = f' data-digit="{_DIGITS[span.level]}"' if span.level else ' data-digit="0"'
    return f'<span class="t{heat}{place}"{digit} data-detail="{escape(span.detail)}">{escape(span.text)}</span>'


def breakable(name: str) -> Markup:
    """A path or a name whose lines may break behind its parts, and not inside of them."""
    return Markup(_BEHIND.sub(r"\g<0><wbr>", str(escape(name))))


_BEHIND = re.compile(r"[/._:+-]+(?=\w)")


def prose(text: str) -> Markup:
    """Words in which what stands between grave accents is code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # one of them opens nothing
        return Markup(escape(text))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part) for place, part in enumerate(parts)
    )
