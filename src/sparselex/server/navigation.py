"""Links from every page to the pages of the workspace and of its runs."""

import re
from typing import NamedTuple

from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import Page

_OF_RUN = re.compile("/runs/[^/]+")


class Link(NamedTuple):
    """A link and its words."""

    label: str
    address: str

    def leads_to(self, path: str) -> str:
        """What the link is to a reader at `path`, in the words of `aria-current`: `page` if it leads where they are,
        `true` if to what their page is part of, else nothing."""
        path = path.removesuffix(".json")
        if path == self.address:
            return "page"
        # Every page of a run lies beneath that of the run itself, and is none of its parts.
        return "true" if path.startswith(f"{self.address}/") and not _OF_RUN.fullmatch(self.address) else ""


class Navigation:
    """The links that pages with a label ask for."""

    def __init__(self, pages: list[Page], opened: OpenWorkspace):
        self.opened, self.paths = opened, frozenset(page.path for page in pages)
        self._of_runs = [page for page in pages if page.label and page.parameters]
        self.of_workspace = [Link(page.label, page.path) for page in pages if page.label and not page.parameters]

    def of_run(self, run: str) -> list[Link]:
        """The pages that a run has, none if there is no such run."""
        if not self.opened.workspace.has_run(run):
            return []
        return [
            Link(page.label, page.path.replace("{run}", run))
            for page in self._of_runs
            if all(self.opened.has(run, kind) for kind in page.needs)
        ]
