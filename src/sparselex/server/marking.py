"""Examples and bars as HTML. By hand and not by a template: a page has hundreds of them, and a template's words around
each would cost more than all the rest of the page."""

import re
from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

from sparselex.base.formats import count, number
from sparselex.features.printing import visible
from sparselex.features.windows import ExampleView, Span
from sparselex.server.charts import Bar
from sparselex.server.escaping import escaped, short
from sparselex.server.pages.activity import ActivityView
from sparselex.server.pages.parts import JudgementView

_CUT = '<span class="cut">…</span>'


def examples(views: Iterable[ExampleView], feature: str = "") -> Markup:
    """Examples, one behind the other, as items of a list; with links to all the text around them where the address of
    their `feature` is given."""
    return Markup("".join(_example(view, feature=feature) for view in views))


def example(view: ExampleView, words: str, feature: str = "") -> Markup:
    """One example; in place of its value stand `words`."""
    return Markup(_example(view, words, feature))


_IS = {
    "active": "active, up to {}",
    "silent": "silent",
    "token": "silent, but holds a token of its own",
    "neighbour": "silent, but a near latent is active",
    "cofiring": "silent, but a latent that is often active with it is active",
    "alike": "silent, but of like meaning",
    "wrong": "wrong tokens marked, {} on them",
}
"""What is true of a window, by its kind and the activation that stands for it."""


def judged(view: JudgementView, feature: str) -> Markup:
    """A window as a language model read it, what is true of it, and what was said: in words and with a sign, for those
    who see no colours."""
    said = "nothing that could be read" if view.said is None else number(view.said, 3)
    sign = _SIGN.get(view.verdict, "")
    said += f", {view.verdict}" if view.verdict else ""
    truth = _IS.get(view.kind, view.kind).format(number(view.expected, 3))
    read = Span(visible(view.text, active=False))
    seen = view.example.model_copy(update={"spans": [read], "cut_before": False, "cut_after": False})
    return Markup(_example(seen, f"{sign}{truth}: said {said}", feature))


_SIGN = {"right": "✓ ", "named": "✓ ", "likelier": "✓ ", "wrong": "✗ ", "missed": "✗ ", "not likelier": "✗ "}


def bars(found: Iterable[Bar]) -> Markup:
    """The bars of a histogram that have a height."""
    return Markup("".join([_bar(bar) for bar in found if bar.height]))


def leading_bars(found: Sequence[Bar], view: ActivityView, address: str) -> Markup:
    """The bars of a feature's activations, each a link to the examples of its range at `address`, which ends where the
    range is asked for; the lower part of each coloured in the share of its tokens that match."""
    start = escaped(address)
    return Markup("".join([_leading(bar, view, place, start) for place, bar in enumerate(found) if bar.height]))


def _leading(bar: Bar, view: ActivityView, place: int, address: str) -> str:
    low, high, matching = view.edges[place], view.edges[place + 1], ""
    if view.matching:
        share = view.matching[place] / max(1, view.counts[place])
        height = round(bar.height * share, 2)
        lower = round(bar.y + bar.height - height, 2)
        if height:
            matching = f'<rect class="matching" x="{bar.x}" y="{lower}" width="{bar.width}" height="{height}"/>'
    words = f"{bar.label}, {count(view.matching[place])} of them match" if view.matching else bar.label
    return (
        f'<a href="{address}low={low!r}&amp;high={high!r}#examples" tabindex="-1"><title>{escaped(words)}</title>'
        f'<rect x="{bar.x}" y="{bar.y}" width="{bar.width}" height="{bar.height}"/>{matching}</a>'
    )


def stack(views: Iterable[ExampleView], feature: str) -> Markup:
    """Examples as lines, their places beneath each other."""
    return Markup("".join(_line(view, feature) for view in views))


def _line(view: ExampleView, feature: str) -> str:
    peak = next((place for place, span in enumerate(view.spans) if span.peak), 0)
    direction = _directed(view.spans)[0]
    (_, before), (_, here), (_, after) = (
        _directed(part) for part in (view.spans[:peak], view.spans[peak : peak + 1], view.spans[peak + 1 :])
    )
    address, words = escaped(f"{feature}/at/{view.position}"), escaped(f"{view.document} at {view.position}")
    return (
        f'<li data-value="{view.value}"><a class="lead" href="{address}" title="{words}">{number(view.value, 3)}</a>'
        f'<div class="line tokens" dir="{direction}"><span class="before"><span>{before}</span></span>'
        f'<span>{here}</span><span class="after">{after}</span></div></li>\n'
    )


def said(text: str) -> Markup:
    """Words of an explanation in which each quoted token is kept apart: without that, two of a script that is written
    from right to left would change places, with the comma between them."""
    return Markup(bordered(text))


def bordered(text: str) -> str:
    """The same as a part of what is put together by hand."""
    safe = escaped(text)
    return _QUOTED.sub(lambda found: f"<bdi>{found[0]}</bdi>", safe) if "&#34;" in safe else safe


_QUOTED = re.compile(r"&#34;(?:\\.|(?!&#34;|\\).)*?&#34;", re.DOTALL)


def _bar(bar: Bar) -> str:
    place = f'x="{bar.x}" y="{bar.y}" width="{bar.width}" height="{bar.height}"'
    return f"<rect {place}><title>{escaped(bar.label)}</title></rect>"


def _example(view: ExampleView, words: str = "", feature: str = "") -> str:
    before, after = _CUT if view.cut_before else "", _CUT if view.cut_after else ""
    place = f"at {view.position}"
    if feature:
        address = escaped(f"{feature}/at/{view.position}")
        place = f'<a class="whole-text" href="{address}" title="All the text around it">{place}</a>'
    direction, tokens = _directed(view.spans)
    return (
        f'<li data-value="{view.value}">\n'
        f'<p class="tokens" dir="{direction}">{before}{tokens}{after}</p>\n'
        f'<p class="source"><b>{escaped(words or number(view.value, 3))}</b> <bdi>{escaped(view.document)}</bdi> '
        f'<span class="position">{place}</span></p>\n'
        "</li>\n"
    )


_RIGHT = re.compile(r"[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]")
_LETTER = re.compile(r"[^\W\d_]")
_NUMBER_OF = re.compile(r"\\(?:x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")
"""A byte or character that is shown by its number: `\\xd8`."""


def _directed(spans: Sequence[Span]) -> tuple[str, str]:
    """From which side the text is read, by most of its letters, and the text. Its first letter would say less: it may
    be the x of a broken byte."""
    marked = "".join(map(_span, spans))
    if marked.isascii() or not _RIGHT.search(marked):
        return "ltr", marked
    text = _NUMBER_OF.sub("", "".join(span.text for span in spans))
    # A number among letters that are read from the right is read from the left.
    apart = "".join(
        _span(span, _NUMBER_OF.sub(lambda one: f"<bdi>{one[0]}</bdi>", escaped(span.text))) for span in spans
    )
    return ("rtl" if 2 * len(_RIGHT.findall(text)) > len(_LETTER.findall(text)) else "ltr"), apart


_DIGITS = "01234567899"
"""Digit of each level of heat: steps of a tenth of the largest activation, the upper two as one; 0 is silence alone."""


def _span(span: Span, text: str = "") -> str:
    if not (span.level or span.peak):
        return text or escaped(span.text)
    text = text or short(span.text)
    heat, place = f" h{span.level}" if span.level else "", ' peak" tabindex="0' if span.peak else '" tabindex="-1'
    digit = f' data-digit="{_DIGITS[span.level]}"' if span.level else ' data-digit="0"'
    return f'<span class="t{heat}{place}"{digit} data-detail="{escaped(span.detail)}">{text}</span>'


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
