"""A feature inside a notebook: the main panels of its page, in the page's own style, which reaches nothing else."""

import re
from collections.abc import Iterator
from pathlib import Path

from markupsafe import Markup

from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.server.app import STATIC
from sparselex.server.navigation import Navigation
from sparselex.server.opened import OpenWorkspace
from sparselex.server.pages.asked import Asked
from sparselex.server.pages.feature import FeaturePage
from sparselex.server.pages.feature import feature as page_of
from sparselex.server.rendering import Rendering

SCOPE = "sparselex-feature"
"""Class of what is shown; every style is of what lies inside."""


class FeatureView:
    """A feature of a run. In a notebook its main panels are shown; `page` is the record behind them."""

    def __init__(self, opened: OpenWorkspace, page: FeaturePage):
        self._opened, self.page = opened, page

    def __repr__(self) -> str:
        said = [one.title for one in self.page.explanations if one.status == "explained"]
        return f"<feature {self.page.latent} of {self.page.run.name}: {said[0] if said else 'not explained'}>"

    def _repr_html_(self) -> str:
        """HTML that stands by itself and loads nothing."""
        draw = Rendering(Navigation([], self._opened)).draw
        html = draw("notebook.html", page=self.page, scope=SCOPE, style="")
        style = scoped((STATIC / "style.css").read_text(encoding="utf-8"), f".{SCOPE}", classes_of(html))
        return html.replace("<style></style>", f"<style>{Markup(style)}</style>", 1)


def feature(workspace: Workspace | Path | str, latent: int, *, run: str = "", seed: int = 0) -> FeatureView:
    """A feature of a workspace, to be looked at in a notebook.

    Args:
        workspace: the workspace or its folder.
        latent: its number.
        run: whose feature; left out where only one run that is no control has an index.
        seed: what the random examples are drawn by.

    Raises `UserError` for a latent or a run that is not there, and where several runs could be meant.
    """
    opened = OpenWorkspace(workspace if isinstance(workspace, Workspace) else Workspace(workspace))
    run = run or _only_run(opened)
    return FeatureView(opened, page_of(opened, run, latent, Asked(show="all", seed=seed)))


def _only_run(opened: OpenWorkspace) -> str:
    indexed = [name for name in opened.workspace.runs() if opened.has(name, "index")]
    found = [name for name in indexed if opened.card(name).twin_of is None] or indexed
    if len(found) != 1:
        raise UserError(
            f"{len(found)} runs of {opened.workspace.path} have features: {', '.join(found) or 'none'}.",
            "the run whose feature is meant",
            'name it: sparselex.feature(workspace, 17, run="main").' if found else "run `sparselex index` first.",
        )
    return found[0]


def classes_of(html: str) -> set[str]:
    """Every class that stands in some HTML."""
    return {name for found in re.findall(r'class="([^"]*)"', html) for name in found.split()}


def scoped(css: str, scope: str, classes: set[str]) -> str:
    """A style sheet for what lies inside `scope` alone, without rules of classes that are not there. The whole page's
    (`:root`, `body`) become those of `scope`, which follows the reader's wish for light or dark."""
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.S)
    return "\n".join(_scoped_rules(css, scope, classes))


def _scoped_rules(css: str, scope: str, classes: set[str]) -> Iterator[str]:
    for head, body in _rules(css):
        if head.startswith("@media"):
            inside = "\n".join(_scoped_rules(body, scope, classes))
            if inside:
                yield f"{head} {{ {inside} }}"
        elif not head.startswith("@"):
            selectors = [_scoped(one.strip(), scope) for one in re.split(r",(?![^(]*\))", head)]
            kept = [one for one in selectors if one and set(re.findall(r"\.([\w-]+)", one)) <= classes]
            if kept:
                yield f"{', '.join(kept)} {{ {body.strip()} }}"


def _rules(css: str) -> Iterator[tuple[str, str]]:
    """What stands before each pair of outer braces, and what stands inside."""
    depth, begin, head = 0, 0, ""
    for found in re.finditer(r"[{}]", css):
        if found[0] == "{":
            if depth == 0:
                head, begin = css[begin : found.start()].strip(), found.end()
            depth += 1
        else:
            depth -= 1
            if depth == 0:
                yield head, css[begin : found.start()]
                begin = found.end()


def _scoped(selector: str, scope: str) -> str:
    """The selector inside the scope; empty for one of a reader's choice of theme, which a notebook has not, and for the
    page itself."""
    if "[data-theme" in selector or selector == "html":
        return ""
    whole = re.fullmatch(r"(?::root|body)(.*)", selector)
    return f"{scope}{whole[1]}" if whole else f"{scope} {selector}"
