"""The protocol of a stage."""

from collections.abc import Callable
from typing import Any, ClassVar

from sparselex.base.artifacts import Manifest
from sparselex.base.config import Config
from sparselex.base.runs import StageCard
from sparselex.recipes.config import Beginning
from sparselex.recipes.option import option_of

Work = Callable[..., Any]
"""`(run, stage, **more)`: what a stage does. `run` is a `sparselex.Run`."""


IN_LINE = "in_line"
"""Attribute of a log record that the line of its stage says as well: the command line, which prints that, leaves it out
of the log; whoever takes the stage from Python has the log alone."""


class Stage(Config):
    """One verb of a run. A subclass is its configuration: its fields are the options, its docstring is the help. One
    that is a `Beginning` too may be the first of a run: its options also say what the run reads.

    A package adds a stage through an entry point of the group `sparselex.stage`; it is then a verb of the command line
    and of `Run.do`, its artifact stands among the others in the browser, and the report takes up the `figures.json`
    that it leaves.
    """

    verb: ClassVar[str]
    """Its name on the command line."""

    needs: ClassVar[tuple[str, ...]] = ()
    """Artifacts of the run that must be there before."""

    reads: ClassVar[tuple[str, ...]] = ()
    """Artifacts of the run that it takes where they are there."""

    makes: ClassVar[str] = ""
    """Name and kind of the artifact that it leaves in the run's folder; empty where it leaves none, and is never
    done."""

    expected: ClassVar[bool] = False
    """Whether a run without it is unfinished; others are made on request."""

    work: ClassVar[str | Work]
    """What it does; as an address, `"package.module:function"`, where loading that takes PyTorch."""

    gives: ClassVar[str | Callable[[Any], Any]] = ""
    """What `Run.do` returns, as a function of the run, or its address; empty for the manifest of what was made."""

    @classmethod
    def card(cls) -> StageCard:
        """What a run says of this stage."""
        return StageCard(verb=cls.verb, makes=cls.makes, expected=cls.expected)

    def kept(self) -> dict[str, Any]:
        """The options that decide what comes out, as JSON values: what a run keeps. What it reads is kept once, beside
        the options of all stages."""
        beside = Beginning.model_fields if isinstance(self, Beginning) else {}
        own = {name: field for name, field in type(self).model_fields.items() if name not in beside}
        values = self.to_json()
        return {name: values[name] for name, field in own.items() if not option_of(field).in_passing}

    def facts(self, run: Any) -> Any:
        """What else must be as it was for the stage to be done, as JSON values; looked at without loading a model."""
        return None

    def is_whole(self, run: Any) -> bool:
        """Whether what was made is all that was asked for. What is not is shown, and not done: the same command goes
        on with it."""
        return True

    def shown(self, run: Any) -> Config:
        """What the command line shows when the stage is done (`--json` prints it): by default the manifest of what was
        made."""
        return run.manifest(self.makes)

    def line(self, run: Any, shown: Any) -> str:
        """That in one line. `run` is the folder of the run, `shown` what the method of that name gave."""
        if not isinstance(shown, Manifest):
            return f"{self.verb} done, in {run.folder / self.makes}"
        n_bytes = sum(entry.n_bytes for entry in shown.files.values())
        return f"{self.makes}: {len(shown.files)} files, {n_bytes:,} bytes, in {run.folder / self.makes}"
