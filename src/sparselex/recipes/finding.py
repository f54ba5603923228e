"""The features that carry a concept that a person has in mind. PyTorch is loaded only if there is something to be
done."""

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from sparselex.atlas.proxies.config import HowMeasured, Looked
from sparselex.atlas.proxies.examples import ExamplesProxy
from sparselex.atlas.proxies.records import FOUND, FOUND_FILE, ConceptFound
from sparselex.atlas.proxies.scripts import ScriptProxy
from sparselex.atlas.proxies.shipped import PROXIES, proxy_of
from sparselex.atlas.proxies.spans import FunctionProxy, RegexProxy, WordsProxy
from sparselex.base.artifacts import MANIFEST, read_manifest, record_of
from sparselex.base.bounds import Once
from sparselex.base.config import Config
from sparselex.base.errors import UserError
from sparselex.base.files import checksum, fingerprint
from sparselex.base.known import Among
from sparselex.base.registry import found
from sparselex.base.runs import RUN_NAME
from sparselex.base.staging import finished, stage
from sparselex.base.workspace import MAIN, Workspace
from sparselex.recipes.folder import RunFolder, differences
from sparselex.recipes.option import Option

_WORK = "sparselex.recipes.work.find:find_run"

MOST_EXAMPLE_BYTES = 1 << 22
"""Bytes of a file of examples that are read."""


class Wanted(Config):
    """What is looked for: one rule of the text."""

    regex: str | None = None
    """A regular expression; tokens that a match overlaps are inside, of a match with a group called `inside` those of
    the group alone. ^ and $ are ends of lines."""

    words: Annotated[tuple[str, ...], Once] = ()
    """Words, where they stand by themselves."""

    script: str | None = None
    """A script of Unicode, such as Greek."""

    function: str | None = None
    """A function of your own, package.module:function, which is given a document's text and gives pairs (start, end) of
    characters."""

    like: Annotated[str | None, Option("--like", "FILE_OR_TEXT")] = None
    """A file of examples, or a text: tokens that read like it."""

    proxy: Annotated[str, Among(PROXIES)] | None = None
    """A proxy that we or another package ship, by name, or script- and the name of a script."""

    name: Annotated[str, Option("--as")] = ""
    """What it is called in the run; left out, after what is looked for."""

    prior: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """With --like, the share of text that is taken to be like the examples before it is read; more finds more."""

    time_limit_s: Annotated[float, Field(gt=0, le=3600)] = 30.0
    """Seconds that a regular expression may take for the documents of a split."""

    @model_validator(mode="after")
    def _one_thing(self) -> "Wanted":
        kinds = ("regex", "words", "script", "function", "like", "proxy")
        given = [f"--{kind}" for kind in kinds if getattr(self, kind) not in (None, ())]
        if len(given) != 1:
            every = ", ".join(f"--{kind}" for kind in kinds)
            said = " and ".join(given) + " were given" if given else "nothing to look for was given"
            raise ValueError(f"{said}; give one of {every}")
        return self

    @property
    def rule(self) -> Any:
        """The proxy that is asked for. Raises `UserError` for a file that cannot be read, and for an unknown name."""
        if self.regex is not None:
            return RegexProxy(pattern=self.regex, time_limit_s=self.time_limit_s)
        if self.words:
            return WordsProxy(of=self.words)
        if self.script is not None:
            return ScriptProxy(script=self.script)
        if self.function is not None:
            return FunctionProxy(address=self.function)
        if self.like is not None:
            return ExamplesProxy(texts=(_examples(self.like),), prior=self.prior)
        return proxy_of(self.proxy or "")

    @property
    def called(self) -> str:
        """Its name in the run."""
        given = self.regex or "-".join(self.words) or self.script or self.function or self.like or self.proxy or ""
        if self.name or self.proxy:
            return self.name or self.proxy or ""
        words = re.sub(r"[^A-Za-z0-9]+", "-", given).strip("-")[:32].strip("-")
        kind = "regex" if self.regex else "function" if self.function else "like" if self.like else ""
        marked = f"-{fingerprint(self.rule.to_json())[:6]}" if kind else ""
        return f"{words or kind or 'concept'}{marked}"


class FindOptions(HowMeasured, Wanted):
    """Find the features that carry a concept: by a regular expression, words, a script, a function of your own,
    examples, or a proxy by its name. The best are chosen on training documents and judged on test documents, with the
    siblings that fill their gaps, beside chance, the best neuron and the random-weight twin."""


def find(
    workspace: Workspace | Path | str,
    *,
    run: str = MAIN,
    options: FindOptions | None = None,
    replace: bool = False,
    **given: Any,
) -> ConceptFound:
    """The features of a run that carry a concept; work that is done is not done again.

    Args:
        workspace: a workspace, or its folder.
        run: the run whose features are asked.
        options: what is looked for and how; or by name the fields of `FindOptions`: `find(w, regex=r"\\bself\\b")`.
        replace: look anew where another concept of that name was looked for.

    Raises `UserError` for a rule that cannot be followed (an expression that is none or takes too long, an unknown
    script or name, a function that is not there or fails), for a concept that does not occur, for a name that there
    cannot be, and for a run without an index of every activation.
    """
    workspace = workspace if isinstance(workspace, Workspace) else Workspace(workspace)
    options = options or FindOptions.parse(given, "the options of find")
    name, rule = options.called, options.rule
    if not re.fullmatch(RUN_NAME, name):
        raise UserError(
            f"{name!r} cannot be the name of a concept.",
            "letters, digits, '.', '_' and '-', at most 64, starting with a letter or digit",
            "give another with --as.",
        )
    folder = RunFolder.open(workspace, run)
    to, how = found_folder(workspace, run, name), options.part(HowMeasured)
    looked = Looked(rule=rule.to_json(), how=how)
    inputs = inputs_of(folder, rule)
    if not finished(to, FOUND, looked, inputs):
        if not replace:
            _check_replaced(to, name, looked)
        found(_WORK)(workspace, run, name, rule, how, to, inputs)
    else:
        with stage(to, FOUND, looked, inputs):  # takes away what a kill has left beside it
            pass
    return record_of(ConceptFound, to, FOUND_FILE)


def found_folder(workspace: Workspace, run: str, name: str) -> Path:
    """Where what was found of a concept is, or will be."""
    return workspace.run(run) / FOUND / name


def inputs_of(folder: RunFolder, rule: Any) -> dict[str, str]:
    """What a concept is looked for in, and by."""
    index = folder.manifest("index")
    inputs = {"index": index.id, "corpus": index.inputs["corpus"]}
    inputs |= {f"{name}/index": made for name, made in random_twins(folder.workspace, folder.name).items()}
    if isinstance(rule, FunctionProxy):
        inputs["function"] = _source(rule.address)
    return inputs


def random_twins(workspace: Workspace, run: str) -> dict[str, str]:
    """Runs that read random weights in the place of this one's and are indexed over the same text, with the ids of
    these indexes."""
    found, corpus = dict[str, str](), workspace.card(run).corpus
    for name in workspace.runs():
        card = workspace.card(name)
        if card.twin_of == run and card.has_random_weights and card.corpus == corpus and workspace.has(name, "index"):
            found[name] = read_manifest(workspace.run(name) / "index").id
    return found


def rules_of(names: tuple[str, ...]) -> dict[str, Any]:
    """The rules of proxies by name, or of all."""
    return {name: proxy_of(name).to_json() for name in names or PROXIES.names()}


def _check_replaced(to: Path, name: str, looked: Config) -> None:
    """Raise `UserError` where something else that was found would be lost."""
    if not (to / MANIFEST).is_file():
        return
    other: Mapping[str, Any] = read_manifest(to).config
    if other.get("rule") != looked.to_json()["rule"] and (differs := differences(other, looked.to_json())):
        raise UserError(
            f"Something else was looked for as {name!r}: {differs[0][:200]}.",
            "the same, or another name",
            "give another with --as, or --replace.",
        )


def _examples(given: str) -> str:
    """The text of a file of that name, or what was given itself."""
    try:
        is_file = len(given) < 4096 and Path(given).is_file()
    except (OSError, ValueError):
        is_file = False
    if not is_file:
        return given
    with open(given, "rb") as file:
        data = file.read(MOST_EXAMPLE_BYTES)
    # A cut through a character is not worth refusing a file for.
    return data.decode("utf-8", "ignore")


def _source(address: str) -> str:
    """What tells one version of a function from another: its module's file."""
    try:
        spec = find_spec(address.partition(":")[0])
    except (ImportError, ValueError):
        return ""
    return checksum(Path(spec.origin)) if spec and spec.origin and Path(spec.origin).is_file() else ""
