"""A run as it lies on disk: its configuration, its artifacts, and which of its stages are done. Nothing here loads a
model, or PyTorch."""

import json
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from sparselex.base.artifacts import MANIFEST, Manifest, open_artifact
from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.files import fingerprint, read_json, write_json
from sparselex.base.runs import StageCard
from sparselex.base.workspace import Workspace
from sparselex.features.elsewhere import KIND as ELSEWHERE
from sparselex.recipes.config import Beginning, RunConfig, control_of
from sparselex.recipes.stage import Stage
from sparselex.recipes.stages import STAGES
from sparselex.recipes.stamps import model_stamp
from sparselex.text.config import as_kept
from sparselex.text.identity import text_stamp

TICKETS = "tickets.json"
_TEXT = "text"
_IN_PYTHON = "(from Python: another name for Run.create, or replace=True)."


def stage_cards() -> tuple[StageCard, ...]:
    """What a run says of all stages that leave something."""
    return tuple(stage.card() for _, stage in STAGES.items() if stage.makes)


def _read_by(config: RunConfig) -> dict[str, Any]:
    """What a run of this configuration reads; where and by what it is computed is left out."""
    models = {name: {"device", "engine", "trust_remote_code"} for name in ("model", "second_model")}
    values = config.model_dump(mode="json", exclude={"stages": True, "twin_of": True, **models})
    return values | {"text": dict(config.text)}  # with what has no word on disk


def differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, str] | None:
    """The values in which two configurations differ, in words, those of the one and those of the other; None where
    there are none. Of configurations of two kinds only what both have is named, and where that is equal what is new."""
    flat = _flat(was), _flat(now)
    if flat[0] == flat[1]:
        return None
    other = [name for name in flat[0].keys() & flat[1].keys() if flat[0][name] != flat[1][name]]
    if not other and (new := sorted(flat[1].keys() - flat[0].keys())):  # options that came with a later version
        return f"no {', no '.join(new)}", ", ".join(f"{name}={flat[1][name]!r}" for name in new)
    kept, told = (", ".join(f"{name}={values[name]!r}" for name in sorted(other)) for values in flat)
    return kept or "other options", told or "these"


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """The values by their names, those of parts with the part's name before theirs."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _flat(value, f"{before}{name}.") if isinstance(value, dict) else {before + name: value}
    return found


_OF_INDEX_ALONE = ("explain", "explain-llm", "export")
"""Stages that a run without a model and a dictionary can go through: what was made elsewhere has its index alone."""


def _made_elsewhere(name: str, source: str) -> UserError:
    return UserError(
        f"Run {name!r} was made elsewhere, of the files {source!r}.",
        "a run of a model, for there is none behind it",
        "read it in the browser; to work on its dictionary, import that with `sparselex import`.",
    )


_PLACES = ("model", "second_model", "hook", "target")
"""What a control reads like the run that it is a control of."""


def _named(values: Mapping[str, Any], names: Collection[str]) -> str:
    return ", ".join(f"{name}={values[name]!r}" for name in names)


class Ticket(Config):
    """What a stage was asked for and what it made: enough to know that the same need not be done again."""

    request: str
    """Hash of everything that decides the outcome, as far as it can be told without opening the model or reading the
    text."""

    made: str
    """Id of the artifact."""


class RunFolder:
    """One run in one workspace. `open` takes a run as an earlier stage configured it, `create` begins one or begins it
    anew.

    A run that is begun looks at its text, and notices when that is another than before. One that is opened goes on
    with the corpus that its card names: the text may be edited, moved or out of reach by then.
    """

    def __init__(self, workspace: Workspace, name: str, config: RunConfig, *, goes_on: bool = False):
        self.workspace, self.name, self.config, self.goes_on = workspace, name, config, goes_on
        self.folder: Path = workspace.run(name)
        self.kept_by_this = set[str]()
        """Verbs whose options this process has kept: of several that do a stage together one does."""
        if config.twin_of == name:
            raise UserError(
                f"Run {name!r} was to be a twin of itself.", "another run", "give it another --run, or --twin-of."
            )

    @classmethod
    def open(cls, workspace: Workspace | Path | str, name: str = "main") -> Self:
        """The run as it was configured by an earlier stage, of a workspace or of the one in a folder. Raises
        `UserError` if there is none of that name."""
        workspace = workspace if isinstance(workspace, Workspace) else Workspace(workspace)
        values = workspace.settings(name)
        if ELSEWHERE in values and "text" not in values:
            raise _made_elsewhere(name, values[ELSEWHERE])
        values = {key: value for key, value in values.items() if key != ELSEWHERE}
        if isinstance(values.get("text"), dict):
            values = values | {"text": as_kept(values["text"])}
        config = RunConfig.parse(values, str(workspace.run(name) / "run.json"))
        return cls(workspace, name, config, goes_on=True)

    @classmethod
    def create(cls, workspace: Workspace | Path | str, name: str, config: RunConfig) -> Self:
        """A run that reads what `config` says; options that earlier stages of a run of that name took are kept, and
        where it names no place in the model, the places that were read."""
        workspace = workspace if isinstance(workspace, Workspace) else Workspace.create(workspace)
        if name in workspace.begun():
            kept = cls.open(workspace, name).config
            places = {"hook": config.hook or kept.hook, "target": config.target or kept.target}
            config = config.with_stages(kept.stages | config.stages).model_copy(update=places)
        return cls(workspace, name, config)

    @classmethod
    def begin(cls, workspace: Workspace, name: str, begins: Beginning) -> Self:
        """A new run that reads what `begins` says. As a control of another run it reads and does all else as that one.

        Raises `UserError` where there is no such run, or where it would read another place or another model than that
        one: it would be no control of it.
        """
        run = begins.twin_of
        if run is None or run == name:
            return cls(workspace, name, begins.run_config())
        of = cls._controlled(workspace, run)
        told = {field: getattr(begins, field) for field in Beginning.model_fields if field in begins.model_fields_set}
        config = control_of(of.config, run).with_reads(told)
        sites, reads, wanted = workspace.card(run).sites, of.config.reads, config.reads
        if sites is not None:  # as it was settled, where nothing was named
            reads |= {
                "hook": reads["hook"] or "+".join(sites.hooks),
                "target": reads["target"] or "+".join(sites.target),
            }
        other = [field for field in _PLACES if field in told and wanted[field] != (reads[field] or None)]
        if other:
            raise UserError(
                f"Run {name!r} was to be a control of {run!r} and to read {_named(wanted, other)}, where {run!r} reads "
                f"{_named(reads, other)}.",
                "the same place of the same model, whose weights --twin draws anew, or another recipe",
                f"leave {' and '.join(other)} out, or --twin-of: a run that is no control stands among the others.",
            )
        return cls(workspace, name, config)

    @classmethod
    def _controlled(cls, workspace: Workspace, run: str) -> Self:
        if run not in workspace.begun():
            begun = ", ".join(workspace.begun()) or "none"
            raise UserError(
                f"There is no run {run!r} in {workspace.path} to be a control of.",
                f"a run that was begun ({begun})",
                "name one of these, or begin that run first.",
            )
        return cls.open(workspace, run)

    def stage(self, verb: str, *, names: Mapping[str, str] | None = None, **options: Any) -> Stage:
        """A stage with these options and the type's defaults; without any options, as the run kept it. What is left out
        of those of a control is as the run kept it, which began as the run that it is a control of.

        `names` says what the options are called where they come from. Raises `UserError` for an unknown verb or option.
        """
        kind = STAGES.get(verb)
        kept = self.config.stages.get(verb) or {}
        goes_on = not options or (self.config.twin_of is not None and "config" not in options)
        values = kept | options if goes_on else options
        if issubclass(kind, Beginning):  # what a run reads it goes on reading, unless told otherwise
            values = values | self.config.reads | options
        return kind.parse(values, f"the options of {verb}", names=names)

    def begun_anew(self, stage: Stage, given: Collection[str]) -> Self:
        """The run with what `stage` says that it reads, of what a person has given; the same where that is nothing."""
        told = {name: getattr(stage, name) for name in given if name in Beginning.model_fields}
        if not told or not isinstance(stage, Beginning):
            return self
        if stage.twin_of is not None and stage.twin_of != self.name:
            self._controlled(self.workspace, stage.twin_of)
        return type(self)(self.workspace, self.name, self.config.with_reads(told), goes_on="text" not in told)

    def check_reads(self, stage: Stage) -> None:
        """Raise `UserError` if `stage` is told to read something else than the run reads."""
        if not isinstance(stage, Beginning):
            return
        told = {name: getattr(stage, name) for name in stage.model_fields_set if name in Beginning.model_fields}
        reads, wanted = self.config.reads, self.config.with_reads(told).reads
        if other := [name for name in Beginning.model_fields if reads[name] != wanted[name]]:
            raise UserError(
                f"{stage.verb} was given {', '.join(f'{name}={wanted[name]!r}' for name in other)}, and run "
                f"{self.name!r} reads {', '.join(f'{name}={reads[name]!r}' for name in other)}.",
                "what the run reads, or a run of its own",
                f"leave {' and '.join(other)} out, or begin a run that reads it: "
                "Run.create(workspace, NAME, new_run(...)).",
            )

    def check_replaced(self, to: Path, made: Manifest, config: Mapping[str, Any]) -> None:
        """Raise `UserError` if one of the run's artifacts is a dictionary, or others stand on it and it is to be made
        with another configuration (a guard of `base.staging`)."""
        if to.parent != self.folder:
            return
        others = self.workspace.artifacts(self.name)
        standing = [name for name, manifest in others.items() if made.id in manifest.inputs.values()]
        if made.kind != "dictionary" and (made.config == config or not standing):
            return
        kept, told = differences(made.config, config) or ("other activations", "those that it reads now")
        said = f"; on it stand {', '.join(standing)}" if standing else ""
        raise UserError(
            f"Run {self.name!r} has its {to.name} already, made with {kept}, and not with {told}{said}.",
            "what it was made with, or a run of its own",
            "leave the options out to go on with it, give the new one another --run, or add --replace " + _IN_PYTHON,
        )

    def reads_otherwise(self) -> tuple[str, str] | None:
        """What the run's artifacts were made from and what the run reads now, in words, where these differ."""
        if self.name not in self.workspace.begun() or not self.workspace.artifacts(self.name):
            return None
        return differences(_read_by(type(self).open(self.workspace, self.name).config), _read_by(self.config))

    def check_still_reads(self) -> None:
        """Raise `UserError` if the run is to read something else than its artifacts were made from."""
        if found := self.reads_otherwise():
            made = ", ".join(self.workspace.artifacts(self.name))
            raise UserError(
                f"Run {self.name!r} has {made}, made with {found[0]}; it was told {found[1]}.",
                "what these were made with, or a run of its own",
                "leave that out, give the new one another --run, or add --replace, which takes away what was made "
                + _IN_PYTHON,
            )

    def manifest(self, name: str) -> Manifest:
        """The manifest of one of the run's artifacts. Raises `UserError` if the stage that makes it has not been
        taken."""
        if not self.has(name):
            raise self._missing(name)
        return open_artifact(self.folder / name, name)

    def has(self, name: str) -> bool:
        """Whether the run has an artifact of that name."""
        return self.workspace.has(self.name, name)

    def is_done(self, stage: Stage) -> bool:
        """Whether `stage` was taken with these very options, from the same model, corpus and artifacts, and what it
        made is there; of a run that is begun, whether its text is the same as well.

        Told from a ticket that was written when it ended, in milliseconds for a model of any size. Raises `UserError`
        where what it made is damaged.
        """
        ticket = self._tickets().get(stage.verb)
        if not ticket or not stage.makes or not self.has(stage.makes) or not self._has_corpus():
            return False
        if ticket != Ticket(request=self._request(stage), made=self.manifest(stage.makes).id).to_json():
            return False
        return self.goes_on or self._tickets().get(_TEXT) == self._text_ticket(text_stamp(self.config.text.source))

    def note_done(self, stage: Stage) -> None:
        """Write the ticket of a stage that has just ended."""
        if not stage.makes:
            return
        ticket = Ticket(request=self._request(stage), made=self.manifest(stage.makes).id)
        write_json(self.folder / TICKETS, self._tickets() | {stage.verb: ticket.to_json()})

    def note_text(self, stamp: str) -> None:
        """Write that the run's corpus was made from the text of this stamp."""
        write_json(self.folder / TICKETS, self._tickets() | {_TEXT: self._text_ticket(stamp)})

    def keep_options(self, stage: Stage) -> None:
        """Keep the options of a stage that was taken; what the run reads stays as it is written."""
        self.config = self.config.with_stage(stage.verb, stage.kept())
        kept = {ELSEWHERE: self.elsewhere} if self.elsewhere else {}
        card = self.workspace.card(self.name)
        if not kept:  # a run without a model has no stages that it lacks
            card = card.model_copy(update={"stages": stage_cards()})
        self.workspace.keep(card, kept | self.config.to_json())
        self.kept_by_this.add(stage.verb)

    @cached_property
    def elsewhere(self) -> str:
        """Name of the files that a run was made of elsewhere; empty for a run that was made here."""
        begun = self.name in self.workspace.begun()
        return self.workspace.settings(self.name).get(ELSEWHERE, "") if begun else ""

    def check_needs(self, stage: Stage) -> None:
        """Raise `UserError` if an artifact that the stage needs is not there."""
        if self.elsewhere and stage.verb not in _OF_INDEX_ALONE:
            raise _made_elsewhere(self.name, self.elsewhere)
        for name in stage.needs:
            if not self.has(name) and not (self.elsewhere and name == "dictionary"):
                raise self._missing(name)

    def _has_corpus(self) -> bool:
        if self.name not in self.workspace.begun() or self.workspace.card(self.name).corpus is None:
            return False
        return (self.workspace.corpus_of(self.name) / MANIFEST).is_file()

    def _text_ticket(self, stamp: str) -> dict[str, Any]:
        return Ticket(request=stamp, made=self._corpus_id()).to_json()

    def _corpus_id(self) -> str:
        return open_artifact(self.workspace.corpus_of(self.name), "corpus").id

    def _tickets(self) -> dict[str, Any]:
        values = read_json(self.folder / TICKETS)
        return values if isinstance(values, dict) else {}

    def _request(self, stage: Stage) -> str:
        reads = self.config.model_copy(update={"stages": {}})
        models = [self.config.model, *filter(None, [self.config.second_model])]
        ids = {name: self.manifest(name).id for name in (*stage.needs, *stage.reads) if self.has(name)}
        ids["corpus"] = self._corpus_id()
        stamps = [model_stamp(model.name) for model in models]
        read = reads.to_json() | {
            "text": self.config.text.to_json()
        }  # as earlier versions wrote it, where it is theirs
        values = [stage.verb, stage.kept(), read, ids, stamps, stage.facts(self)]
        return fingerprint(json.loads(json.dumps(values)))

    def _missing(self, name: str) -> UserError:
        if self.elsewhere:
            return _made_elsewhere(self.name, self.elsewhere)
        verbs = [verb for verb, stage in STAGES.items() if stage.makes == name]
        return UserError(
            f"Run {self.name!r} has no {name} yet.",
            f"a run with a finished {name}",
            f"run `sparselex {verbs[0] if verbs else 'train'} {self.workspace.typed} --run {self.name}`.",
        )
