"""The report of a reproduction of "Towards Monosemanticity" as one HTML file: our figures beside the paper's, and
behind each claim the browser's own pages of it, without their frame. It needs no server and loads nothing; its links
lead into the browser."""

import random
import re
from collections.abc import Iterator

import numpy as np
from markupsafe import Markup

from sparselex.atlas.proxies.records import FILE as PROXIES_FILE
from sparselex.atlas.proxies.records import KIND as PROXIES
from sparselex.atlas.proxies.records import ProxiesFound
from sparselex.base.config import Config
from sparselex.base.workspace import Workspace
from sparselex.evaluate.monosemanticity.records import ClaimFound, Roles
from sparselex.server.answering import Pages
from sparselex.server.app import STATIC
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import NoSuchPage, PageRecord
from sparselex.server.pages.asked import Asked
from sparselex.server.pages.feature import FeaturePage, feature
from sparselex.server.pages.monosemanticity import monosemanticity_page

BROWSER = "http://127.0.0.1:8321"
"""Where the browser is, if nothing else is said: what `sparselex serve` takes."""

N_STUDIES = 5
"""Features that are shown whole: the best of as many concepts, and as many drawn at random."""

_SCRIPTS = re.compile(r"<(script|form|button)\b.*?</\1>", re.DOTALL)
"""What does nothing without a server."""

_STYLES = re.compile(r'<link rel="stylesheet" href="[^"]*/static/([\w-]+\.css)">')
_HEADINGS = re.compile(r"(</?h)([1-4])\b")
_NAMED = re.compile(r'(\s(?:id|for|aria-labelledby|aria-describedby)="|\shref="#)([^"]+)"')
_TITLE = re.compile(r"<h1\b.*?</h1>", re.DOTALL)
_DEEPER = 2
"""Levels by which headings of a page lie deeper in the report."""


class Shown(Config):
    """A page of the browser as a part of the report."""

    title: str
    """Its title."""

    address: str
    """Its address in the browser."""

    body: str
    """What stands on it, as HTML; empty where there is no such page yet."""

    missing: str = ""
    """Why there is none."""


class Section(Config):
    """A claim with the pages that belong to it."""

    claim: ClaimFound
    """The claim."""

    shown: list[Shown]
    """The pages."""


class Studies(Config):
    """Features shown whole."""

    concepts: dict[int, str]
    """The concept of each that somebody would pick: the latents that carry the concepts best."""

    chosen: list[FeaturePage]
    """These."""

    drawn: list[FeaturePage]
    """As many others, drawn at random from those that are active."""

    seed: int
    """By what they were drawn."""


class Report:
    """Puts the report together.

    Args:
        workspace: with the reproduction. Its browser is at the address `browser`.
    """

    def __init__(self, workspace: Workspace, browser: str = BROWSER):
        self.opened, self.root = OpenWorkspace(workspace), browser.rstrip("/")
        pages = Pages(workspace, frameless=True)
        self._pages, self._frameless = {page.path: page for page in pages.all}, pages.rendering
        self._styles: dict[str, None] = {}
        self._drawn = set[str]()

    def text(self, seed: int = 0) -> str:
        """The file. Raises `NotMadeYet` where nothing was reproduced, `UserError` where something is damaged."""
        page = monosemanticity_page(self.opened)
        sections = [Section(claim=claim, shown=list(self._shown(claim))) for claim in page.claims]
        studies = self._studies(page.made.roles, seed)
        names = ["style.css", "feature.css", *self._styles]
        style = "\n".join((STATIC / name).read_text(encoding="utf-8") for name in dict.fromkeys(names))
        return self._frameless.draw(
            "monosemanticity_report.html",
            page=page,
            sections=sections,
            studies=studies,
            style=Markup(style),
            root=self.root,
            path="/monosemanticity",
            live=False,
        )

    def _shown(self, claim: ClaimFound) -> Iterator[Shown]:
        """The pages of a claim that are not in the report yet."""
        for address in claim.pages:
            run, _, name = address.partition("/")
            path = f"/runs/{{run}}/{name}".rstrip("/")
            if path in self._pages and name not in _LIVELY and address not in self._drawn:
                self._drawn.add(address)
                yield self._one(run, path, f"/runs/{address}")

    def _one(self, run: str, path: str, address: str) -> Shown:
        page = self._pages[path]
        try:
            found = page.build(self.opened, run=run)
        except NoSuchPage as error:
            return Shown(title=address, address=address, body="", missing=error.given)
        assert isinstance(found, PageRecord)
        words = {"page": found, "path": address, "root": self.root, "run": run, "query": "", "twin": address}
        drawn = self._frameless.draw(str(page.template), **words, live=False, may_write=False, home="")
        return Shown(title=found.title, address=address, body=self._bare(drawn, address))

    def _bare(self, drawn: str, address: str) -> str:
        """A page as a part: its styles are noted, what needs a server goes, and its names are its own."""
        self._styles |= dict.fromkeys(_STYLES.findall(drawn))
        bare = _TITLE.sub("", _SCRIPTS.sub("", _STYLES.sub("", drawn)))
        bare = _HEADINGS.sub(lambda found: f"{found[1]}{int(found[2]) + _DEEPER}", bare)
        own = re.sub(r"\W+", "-", address).strip("-")
        return _NAMED.sub(lambda found: found[1] + " ".join(f"{own}-{name}" for name in found[2].split()) + '"', bare)

    def _studies(self, roles: Roles, seed: int) -> Studies | None:
        found = self.opened.record(ProxiesFound, roles.main, PROXIES, PROXIES_FILE)
        if found is None or not self.opened.has(roles.main, "index") or self.opened.stale(roles.main, PROXIES):
            return None
        concepts = best_carriers(found, N_STUDIES)
        index = self.opened.index(roles.main).index
        pages = [feature(self.opened, roles.main, latent, Asked(show="all")) for latent in concepts]
        others = [latent for latent in np.flatnonzero(index.table["n_active"]).tolist() if latent not in concepts]
        drawn = sorted(random.Random(seed).sample(others, min(len(concepts), len(others))))
        return Studies(
            concepts=concepts,
            chosen=pages,
            drawn=[feature(self.opened, roles.main, latent, Asked(show="all")) for latent in drawn],
            seed=seed,
        )


_LIVELY = frozenset({"rubric"})
"""Pages that are nothing without a server."""


def best_carriers(found: ProxiesFound, n: int) -> dict[int, str]:
    """The latents that carry as many concepts best, by specificity at high activation times sensitivity, each once,
    with the concept of each."""
    best = lambda one: (one.specificity_high or 0.0) * (one.sensitivity or 0.0)
    ranked = sorted(
        ((concept.carriers[0], concept.name) for concept in found.concepts if concept.carriers),
        key=lambda pair: -best(pair[0]),
    )
    chosen: dict[int, str] = {}
    for carrier, name in ranked:
        chosen.setdefault(carrier.latent, name)
    return dict(list(chosen.items())[:n])
