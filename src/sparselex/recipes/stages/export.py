"""`export`: a run's dictionary, or its features, in another project's layout."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from sparselex.base.bounds import LatentNumber, LayerNumber, Once
from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.known import KnownIn
from sparselex.base.registry import Registry
from sparselex.convert.table import LAYOUTS
from sparselex.recipes.option import Option
from sparselex.recipes.stage import Stage


class _Layouts(Registry[Any]):
    """Layouts of features, behind those of dictionaries: one option names either."""

    def names(self) -> list[str]:
        return [*LAYOUTS.names(), *self._table]

    def holds(self, name: str) -> bool:
        """Whether it is a layout of features."""
        return name in self._table


FEATURE_LAYOUTS = _Layouts(
    "layout",
    {
        "saedashboard": "sparselex.recipes.dashboards.writing:write_saedashboard",
        "neuronpedia": "sparselex.recipes.dashboards.writing:write_neuronpedia",
        "parquet": "sparselex.recipes.tables:write_parquet",
        "delphi": "sparselex.recipes.dashboards.caching:write_cache",
    },
)
"""`(run, stage)` that writes a run's features to the folder `stage.to`, by the layout's name."""


_DASHBOARDS = ("saedashboard", "neuronpedia")
_USED_BY = {
    "latents": (*_DASHBOARDS, "parquet"),
    **dict.fromkeys(("model_id", "set_name", "layer"), _DASHBOARDS),
    "creator": ("neuronpedia",),
}
"""Layouts that use an option; any other uses none of these."""


class Exported(Config):
    """What was written."""

    layout: str
    """Whose layout."""

    folder: Path
    """Where."""


class Export(Stage):
    """Write the run's dictionary as another project reads it (saelens, sparsify, circuit-tracer), or its features: as
    dashboards (saedashboard, neuronpedia), or with all their activations as tables (parquet) or as delphi's cache
    (delphi)."""

    verb = "export"
    needs = ("dictionary",)
    work = "sparselex.recipes.work.export:export_run"

    to: Annotated[Path, Option(positional=True, metavar="FOLDER")]
    """The folder to make."""

    layout: Annotated[str, KnownIn(FEATURE_LAYOUTS)] = "saelens"
    """Whose layout; that of circuit-tracer is for transcoders."""

    latents: Annotated[tuple[LatentNumber, ...], Once, Option("--latent")] = ()
    """Features that are written, separated by commas; may be repeated. Left out, all. Not for layouts of the
    dictionary."""

    model_id: Annotated[str, Field(pattern=r"^[\w./-]*$")] = ""
    """What the model is called in dashboards, such as gpt2-small; left out, as the run has it."""

    set_name: Annotated[str, Field(pattern=r"^[\w.-]*$")] = ""
    """What the set is called in dashboards that the dictionary is of; left out, by workspace and run."""

    layer: LayerNumber | None = None
    """The number of the layer in dashboards; left out, that of the hook."""

    creator: str = ""
    """Your user id at Neuronpedia, for its layout."""

    def check_used(self) -> None:
        """Raise `UserError` for an option that the layout does not use."""
        kept = {name: getattr(self, name) for name in self.model_fields_set}
        idle = {name for name in kept if name in _USED_BY and self.layout not in _USED_BY[name]}
        if idle:
            flag = "--latent" if "latents" in idle else "--" + sorted(idle)[0].replace("_", "-")
            raise UserError(
                f"{flag} changes nothing in the layout of {self.layout}.",
                "options that the layout uses",
                "leave it out, or choose another --layout.",
            )

    def chosen(self, d_sae: int) -> list[int]:
        """The features asked for, or all. Raises `UserError` for a number that is none, before anything is written."""
        if wrong := [latent for latent in self.latents if latent >= d_sae]:
            raise UserError(f"There is no latent {wrong[0]}.", f"a number from 0 to {d_sae - 1}", "choose another.")
        return list(dict.fromkeys(self.latents)) or list(range(d_sae))

    def shown(self, run: Any) -> Exported:
        return Exported(layout=self.layout, folder=self.to.absolute())

    def line(self, run: Any, shown: Exported) -> str:
        return f"{shown.layout} layout in {shown.folder}"
