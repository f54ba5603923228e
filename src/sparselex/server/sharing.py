"""A server for several people: several workspaces under one address, and an address behind a proxy."""

import re
from collections.abc import Sequence
from urllib.parse import quote

from starlette.types import ASGIApp, Receive, Scope, Send

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.runs import RunCard
from sparselex.base.workspace import Workspace
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import Page, PageRecord

SEVERAL = "/w/"
"""What stands in front of the name of a workspace where there are several."""

_BASE = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
_NO_NAME = re.compile(r"[^\w.-]+|^\.+")


class WorkspaceView(Config):
    """One workspace of several."""

    name: str
    """Name of its folder."""

    address: str
    """Where it is, behind the root of the server."""

    runs: list[str]
    """Its runs."""

    models: list[str]
    """Models that they read."""


class WorkspacesPage(PageRecord):
    """`/` of a server of several workspaces."""

    workspaces: list[WorkspaceView]
    """In the order in which they were named."""


def workspaces_page(opened: dict[str, OpenWorkspace]) -> WorkspacesPage:
    """What is served, by name."""
    return WorkspacesPage(title="Workspaces", workspaces=[_view(name, one) for name, one in opened.items()])


def named(workspaces: Sequence[Workspace]) -> dict[str, Workspace]:
    """Workspaces by what they are called in addresses: the names of their folders, each another."""
    found: dict[str, Workspace] = {}
    for workspace in workspaces:
        name = plain = _NO_NAME.sub("-", workspace.path.name) or "workspace"
        number = 1
        while name in found:
            number += 1
            name = f"{plain}-{number}"
        found[name] = workspace
    return found


def checked_base(base_path: str, pages: Sequence[Page]) -> str:
    """What stands in front of all addresses, without a slash at its end. Raises `UserError` for what can be no path, or
    is the beginning of a page's own."""
    base = base_path.rstrip("/")
    own = {page.path.split("/")[1] for page in pages} | {"static", SEVERAL.strip("/")}
    if not _BASE.fullmatch(base) or base.partition("/")[2].partition("/")[0] in own - {""}:
        raise UserError(
            f"{base_path!r} cannot stand in front of the pages' addresses.",
            "a path such as /sparselex, which is no beginning of a page's own (" + ", ".join(sorted(own - {""})) + ")",
            "choose another --base-path.",
        )
    return base


class Prefix:
    """Takes what stands in front of all addresses off them, whether or not the proxy before this server has done so
    already."""

    def __init__(self, app: ASGIApp, base: str):
        self.app, self.base = app, base

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self.base:
            # Into the scope itself: what answers to a fault stands outside of this, and needs it as well.
            path = scope["path"]
            is_whole = path == self.base or path.startswith(f"{self.base}/")
            scope["path"] = path if is_whole else self.base + path
            scope["root_path"] = self.base
        await self.app(scope, receive, send)


def _view(name: str, opened: OpenWorkspace) -> WorkspaceView:
    cards = opened.cards()
    models = dict.fromkeys(card.model for card in cards.values() if isinstance(card, RunCard))
    address = f"{SEVERAL}{quote(name)}/"
    return WorkspaceView(name=opened.workspace.path.name, address=address, runs=list(cards), models=list(models))
