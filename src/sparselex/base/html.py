"""Records in notebooks: HTML that stands by itself, with styles that reach nothing else on the page, in both themes.
Text is never markup, and nothing is loaded."""

from collections.abc import Iterable, Sequence
from html import escape

SCOPE = "sparselex-record"
"""Class of what is shown; every style is of what lies inside."""

_STYLE = (
    """
.S { color-scheme: light dark; --ink: light-dark(#1d1b18, #f1eee9); --quiet: light-dark(#6b655c, #a8a298);
 --line: light-dark(#e6e1d8, #33313a); --paper: light-dark(#fdfcfa, #16151a); --heat: light-dark(#ee8f2a, #a8520d);
 background: var(--paper); color: var(--ink); font: 14px/1.5 system-ui, sans-serif; padding: .6rem .9rem;
 font-variant-numeric: tabular-nums; overflow-x: auto; }
.S p { margin: .3rem 0; max-width: 50rem; }
.S .title { font-weight: 620; font-size: 1.1em; }
.S .quiet { color: var(--quiet); font-size: .9em; }
.S table { border-collapse: collapse; margin: .4rem 0; }
.S th, .S td { text-align: right; padding: .15rem .6rem; border-bottom: 1px solid var(--line); font-weight: 400;
 background: none; color: var(--ink); white-space: nowrap; }
.S th:first-child, .S td:first-child { text-align: left; padding-left: 0; }
.S thead th { color: var(--quiet); }
.S code { font: .9em ui-monospace, Menlo, Consolas, monospace; white-space: pre-wrap; color: var(--ink);
 background: none; }
.S .tokens code { padding: .1em 0; border-radius: 2px; }
.S details { margin: .3rem 0; }
.S rect { fill: var(--heat); }
""".replace(".S", f".{SCOPE}").replace("\n ", " ")
    + "\n".join(
        f".{SCOPE} .heat-{level} {{ background: color-mix(in oklab, var(--heat) {10 * level}%, transparent); }}"
        for level in range(1, 11)
    )
)


def card(title: str, *parts: str) -> str:
    """A record: its title (text) and its parts (markup)."""
    head = f'<p class="title">{escape(title)}</p>'
    return f'<div class="{SCOPE}"><style>{_STYLE}</style>{head}{"".join(parts)}</div>'


def words(text: str, *, quiet: bool = False) -> str:
    """A paragraph of text."""
    kind = ' class="quiet"' if quiet else ""
    return f"<p{kind}>{escape(text)}</p>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of text; the first cell of a row names it."""
    named = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'
        for first, *cells in rows
    )
    return f"<table><thead><tr>{named}</tr></thead><tbody>{body}</tbody></table>"


def folded(summary: str, *parts: str) -> str:
    """Markup that opens when its summary (text) is clicked."""
    return f"<details><summary>{escape(summary)}</summary>{''.join(parts)}</details>"


def tokens(texts: Iterable[tuple[str, float, str]]) -> str:
    """A text in tokens, each with its heat from 0 to 1 and what is told of it."""
    found = [
        f'<code class="heat-{min(10, max(1, round(10 * heat)))}" title="{escape(told)}">{escape(text)}</code>'
        if heat > 0
        else f'<code title="{escape(told)}">{escape(text)}</code>'
        for text, heat, told in texts
    ]
    return f'<p class="tokens" dir="auto">{"".join(found)}</p>'


def bars(counts: Sequence[int], label: str, heights: Sequence[float]) -> str:
    """A histogram: heights from 0 to 1, each bar with its count."""
    wide, high = 4, 60
    drawn = "".join(
        f'<rect x="{wide * place}" y="{high * (1 - height):.1f}" width="{wide - 1}" height="{high * height:.1f}">'
        f"<title>{n:,}</title></rect>"
        for place, (n, height) in enumerate(zip(counts, heights, strict=True))
        if n
    )
    size = f'width="{wide * len(counts)}" height="{high}" viewBox="0 0 {wide * len(counts)} {high}"'
    return f'<svg role="img" aria-label="{escape(label)}" {size}>{drawn}</svg>'
