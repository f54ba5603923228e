"""Lines of lists and tables as HTML. By hand and not by a template, as examples are (`marking`): a template writes and
escapes each of a line's fields by itself, which took half of a page's time."""

from collections.abc import Sequence

from markupsafe import Markup

from sparselex.base.formats import count, fixed, number, percent
from sparselex.explain.records import Score
from sparselex.server.escaping import escaped, short
from sparselex.server.finding.hits import MatchView, Piece
from sparselex.server.marking import bordered
from sparselex.server.pages.features import Column, FeatureRow, FeaturesPage
from sparselex.server.pages.parts import EntryView, HeadlineView, ScoredBy
from sparselex.server.pages.relations import NearView, TokenShareView, TokenView

_NONE = '<span class="none">–</span>'


def token_effects(rows: Sequence[TokenView], sign: str) -> Markup:
    """Tokens with what is added to their logits, as items of a list; before what goes the way of `sign`, that sign."""
    way = 1 if sign == "+" else -1
    return Markup("".join([_token_effect(row, sign if row.value * way > 0 else "") for row in rows]))


def _token_effect(row: TokenView, sign: str) -> str:
    token = f'<code dir="auto" title="token {row.token}">{short(row.text)}</code>'
    return f"<li>{token}<span>{escaped(sign)}{number(abs(row.value), 3)}</span></li>"


def token_shares(rows: Sequence[TokenShareView]) -> Markup:
    """Tokens that go with a feature, as rows of a table."""
    return Markup("".join([_token_share(row) for row in rows]))


def _token_share(row: TokenShareView) -> str:
    token = f'<code dir="auto" title="token {row.token}">{short(row.text)}</code>'
    lift = f"{number(row.lift, 2)}×" if row.lift else ""
    return (
        f'<tr><th scope="row" class="left">{token}</th><td>{count(row.n)}</td><td>{percent(row.share)}</td>'
        f"<td>{percent(row.base)}</td><td>{lift}</td></tr>"
    )


def near_latents(rows: Sequence[NearView], base: str) -> Markup:
    """Latents that are near to one, as items of a list; those of `base` are at its address."""
    address = escaped(base)
    return Markup("".join([_near(row, address) for row in rows]))


def _near(row: NearView, address: str) -> str:
    title, value = "", fixed(row.value, 2)
    if row.n_both:
        share = percent(row.share)
        title = f' title="on {count(row.n_both)} tokens both, {share} of this feature\'s"'
        value = f"{share} · {number(row.value, 2)}×"
    link = f'<a href="{address}/{row.latent}">{row.latent}</a>'
    return f'<li><span class="words">{link} {bordered(row.title)}</span><span{title}>{value}</span></li>'


def named(metric: str) -> str:
    """A measure as its column is called."""
    return metric.upper() if len(metric) < 3 or metric == "auroc" else metric.replace("_", " ")


def scored_by(by: ScoredBy | Score) -> str:
    """Whose explanations are scored, by whom and by which measure."""
    return f"{by.explainer}, {by.scorer}: {named(by.metric)}"


def score(one: HeadlineView) -> Markup:
    """A score with its null in brackets, its interval and n."""
    null = '<span title="not made for this one">–</span>' if one.null is None else fixed(one.null)
    ends = None if one.ci_low is None or one.ci_high is None else f"{fixed(one.ci_low, 2)} … {fixed(one.ci_high, 2)}, "
    between = f'<small class="between">{ends or ""}n&nbsp;{count(one.n)}</small>'
    return Markup(f'<b>{fixed(one.value)}</b> <span class="quiet">({null}){between}</span>')


def feature_rows(page: FeaturesPage, base: str) -> Markup:
    """The rows of the list of features, which are at the address `base`."""
    return Markup("".join([_feature_row(page, row, escaped(base)) for row in page.rows]))


def _feature_row(page: FeaturesPage, row: FeatureRow, base: str) -> str:
    cells = "\n".join([_cell(name, page, row, base) for name in page.columns])
    found = ""
    if row.matches and "explanation" not in page.columns:
        snippets = "".join([_snippet(match, page.mode) for match in row.matches])
        found = f'<tr class="found"><td colspan="{len(page.columns)}" class="left">{snippets}</td></tr>'
    return f"<tr>\n{cells}\n</tr>\n{found}"


def _cell(name: Column, page: FeaturesPage, row: FeatureRow, base: str) -> str:
    first = row.explanations[0] if row.explanations else None
    match name:
        case "latent":
            return f'<td><a href="{base}/{row.latent}">{row.latent}</a></td>'
        case "label":
            return f'<td class="left">{escaped(row.label) or _NONE}</td>'
        case "explanation":
            quiet = "" if first and first.status == "explained" else " quiet"
            return f'<td class="left words{quiet}">{_explanation(page, row, first, base)}</td>'
        case "score":
            return f'<td class="score">{_score(page, row, first)}</td>'
        case "effect":
            as_random = "" if row.used else ' <span class="quiet">(as random)</span>'
            return f"<td>{_NONE if row.effect is None else number(row.effect, 3) + as_random}</td>"
        case "density":
            return f"<td>{percent(row.density)}</td>"
        case "active":
            return f"<td>{count(row.active)}</td>"
        case "max" | "mean":
            return f"<td>{number(row.max if name == 'max' else row.mean, 3)}</td>"
        case "top":
            return f'<td class="left">{f"<code>{short(row.top_token)}</code>" if row.top_token else _NONE}</td>'
    flags = "".join([f'<span class="tag">{escaped(flag)}</span>' for flag in row.flags])
    return f'<td class="left">{flags}</td>'


def _explanation(page: FeaturesPage, row: FeatureRow, first: EntryView | None, base: str) -> str:
    missing = "never active on the counted tokens" if "dead" in row.flags else "not explained yet"
    words = escaped(first.title) if first else missing
    if first and first.explainer != (page.score.explainer if page.score else "rule"):
        words = f'<span class="quiet">{escaped(first.explainer)}:</span> {words}'
    others = [
        f'<span class="other">{escaped(other.explainer)}: {escaped(other.title)}</span>'
        for other in row.explanations[1:]
    ]
    snippets = [_snippet(match, page.mode) for match in row.matches]
    return f'<a href="{base}/{row.latent}" tabindex="-1">{words}</a>{"".join(others)}{"".join(snippets)}'


def _score(page: FeaturesPage, row: FeatureRow, first: EntryView | None) -> str:
    if row.score:
        return score(row.score)
    of_scored = first and page.score and first.explainer == page.score.explainer
    words = escaped(first.status) if first and of_scored and first.status != "explained" else "not scored"
    return f'<span class="quiet">{words}</span>'


def _snippet(match: MatchView, mode: str) -> str:
    """A place that was found. What is said of activity ends in the token that it is of, which is no prose; of a search
    for tokens so is all but what was found."""
    last, of_token = len(match.pieces) - 1, match.where == "activity"
    pieces = [
        f'<span class="said">{escaped(one.text)}</span>'
        if of_token and (place == last or (mode == "token" and not one.found))
        else _piece(one)
        for place, one in enumerate(match.pieces)
    ]
    where = f"{match.where} by {escaped(match.explainer)}" if match.explainer else match.where
    return f'<span class="snippet"><span class="quiet">{where}</span> <bdi>{"".join(pieces)}</bdi></span>'


def _piece(one: Piece) -> str:
    text = escaped(one.text)
    if one.found:
        return f'<mark class="active">{text}</mark>' if one.active else f"<mark>{text}</mark>"
    return f'<b class="active">{text}</b>' if one.active else text
