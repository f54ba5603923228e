"""What a page of the browser is: its address, what it shows, and how."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.server.live_records import Question

TEMPLATES = Path(__file__).parent / "templates"
"""Where the templates of our own pages lie; those of other packages extend `base.html` from here."""

_PARAMETER = re.compile(r"\{(\w+)(?::path)?\}")


class PageRecord(Config):
    """What a page shows. The page's address with `.json` behind it returns exactly this."""

    title: str
    """Title of the page."""


class Elsewhere(NamedTuple):
    """What a builder returns in place of a record to send the reader to another address of the workspace."""

    address: str


class Download(NamedTuple):
    """What a builder returns in place of a record to give the reader a file."""

    name: str
    """Name of the file."""

    content: bytes
    """What is in it."""

    media_type: str
    """What kind of file that is."""


class NoSuchPage(UserError):
    """The address names nothing that is here. Any other `UserError` means that something here is damaged."""


class Impossible(UserError):
    """The address asks for something that cannot be done: a pattern that is none, a token that there is not."""


class NotMadeYet(NoSuchPage):
    """The address names what a command makes that has not been given yet; `todo` names it."""


@dataclass(frozen=True)
class Page:
    """One kind of page. Raises `UserError` if it cannot be reached or drawn."""

    path: str
    """Address, its parameters in braces: `/runs/{run}/features/{latent}`. One that may hold slashes is last, and says
    so: `/lists/{name:path}`."""

    build: Callable[..., PageRecord | Elsewhere | Download]
    """Makes the record. Called with the open workspace, then by name with the parameters of the path and, where it has
    more (they need a type and a default), with what stands behind the `?`; words that fit no type never arrive."""

    template: Path | None = None
    """Jinja template, which sees the record as `page`; None shows the record's fields one by one."""

    label: str = ""
    """Words of the links to it that stand on other pages: on all of them, or on those of a run where the path has a
    `{run}`; empty for none."""

    needs: tuple[str, ...] = ()
    """Kinds of artifacts without which a run has no such page, and no link to it."""

    asks: Callable[..., Question | None] | None = None
    """What the page asks of the live model: called with the page's parameters by name, None where they ask nothing. The
    builder then takes the `answer`."""

    def __post_init__(self) -> None:
        linked = not self.label or set(self.parameters) <= {"run"}
        if not self.path.startswith("/") or not linked:
            raise UserError(
                f"A page has the path {self.path!r} and the label {self.label!r}.",
                "a path that begins with /, and for a page with a label no parameter but {run}",
                "correct the page's path, or leave its label out.",
            )
        if self.template is not None and not self.template.is_file():
            where = f"The template {self.template} of the page {self.path} is not there."
            raise UserError(where, "a Jinja template", "check the path, or install the page's package again.")

    @property
    def parameters(self) -> list[str]:
        """Names of the path's parameters."""
        return _PARAMETER.findall(self.path)

    @property
    def json_path(self) -> str:
        """Address of the record."""
        return "/index.json" if self.path == "/" else f"{self.path}.json"
