"""`export`: a run's dictionary in another project's layout."""

from pathlib import Path
from typing import Annotated, Any

from sparselex.base.config import Config
from sparselex.base.known import KnownIn
from sparselex.convert.table import LAYOUTS
from sparselex.recipes.option import Option
from sparselex.recipes.stage import Stage


class Exported(Config):
    """What was written."""

    layout: str
    """Whose layout."""

    folder: Path
    """Where."""


class Export(Stage):
    """Write the run's dictionary as another project reads it."""

    verb = "export"
    needs = ("dictionary",)
    work = "sparselex.recipes.work.export:export_run"

    to: Annotated[Path, Option(positional=True, metavar="FOLDER")]
    """The folder to make."""

    layout: Annotated[str, KnownIn(LAYOUTS)] = "saelens"
    """Whose layout; that of circuit-tracer is for transcoders."""

    def shown(self, run: Any) -> Exported:
        return Exported(layout=self.layout, folder=self.to.absolute())

    def line(self, run: Any, shown: Exported) -> str:
        return f"{shown.layout} layout in {shown.folder}"
