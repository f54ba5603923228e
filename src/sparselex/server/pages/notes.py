"""`/notes`: all that people wrote in a workspace."""

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import groupby

from sparselex.base.config import Config
from sparselex.base.runs import RunCard
from sparselex.server.explained import title_of
from sparselex.server.notes.markdown import to_markdown
from sparselex.server.notes.records import Feature, Label, Note, Notebook, Study
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, Download, Page, PageRecord


class FeatureWords(Feature):
    """What is said of one feature."""

    label: Label | None = None
    """Its label, if it has one."""

    starred: bool = False
    """Whether it is starred."""

    notes: list[Note] = []
    """Its notes, the oldest first."""

    lists: list[str] = []
    """Lists that it is in."""


class RunWords(Config):
    """What is said of the features of one run under one dictionary."""

    run: str
    """Name of the run."""

    dictionary: str
    """Id of the dictionary."""

    is_now: bool
    """Whether that is the dictionary the run has now; else these are of an earlier one, or of a run that is gone."""

    features: list[FeatureWords]
    """Features of which something is said, by number."""


class StudyView(Config):
    """A case study in the list of them."""

    study: Study
    """The case study."""

    n_pins: int
    """Features and examples pinned to it."""


class NotesPage(PageRecord):
    """`/notes`: all that people wrote in a workspace."""

    typed: str
    """The whole path of the workspace, as it can be typed into a shell."""

    runs: list[RunWords]
    """By run, the dictionary that it has now first."""

    studies: list[StudyView]
    """Case studies, the oldest first."""


def notes(opened: OpenWorkspace) -> NotesPage:
    """All that people wrote."""
    found = opened.notes.everything()
    now = dictionaries(opened)
    words = _words(found)
    groups = groupby(sorted(words, key=lambda one: one.key), key=lambda one: (one.run, one.dictionary))
    runs = [
        RunWords(run=run, dictionary=of, is_now=now.get(run) == of, features=list(features))
        for (run, of), features in groups
    ]
    pinned = Counter(pin.study for pin in found.pins)
    return NotesPage(
        title="Notes",
        typed=opened.workspace.typed,
        runs=sorted(runs, key=lambda one: (one.run, not one.is_now)),
        studies=[StudyView(study=study, n_pins=pinned[study.id]) for study in found.studies],
    )


def export(opened: OpenWorkspace) -> Download:
    """All that people wrote as one Markdown file."""
    content = to_markdown(opened.notes.everything()).encode()
    return Download(name="notes.md", content=content, media_type="text/markdown")


EXPORT = Page(path="/notes/export", build=export)
PAGE = Page(path="/notes", build=notes, template=TEMPLATES / "notes.html", label="Notes")


def dictionaries(opened: OpenWorkspace) -> dict[str, str]:
    """Id of the dictionary that each run has now, under which its notes are kept."""
    return {run: opened.dictionary_id(run) for run, card in opened.cards().items() if isinstance(card, RunCard)}


def titles_of(opened: OpenWorkspace) -> Callable[[Feature], str]:
    """What features of the dictionaries that runs have now are called: by their label, or else by their explanation."""
    now, labels = dictionaries(opened), dict[tuple[str, str], dict[int, str]]()

    def title(feature: Feature) -> str:
        of = (feature.run, feature.dictionary)
        if of not in labels:
            labels[of] = opened.notes.labels(*of)
        if feature.latent in labels[of] or now.get(feature.run) != feature.dictionary:
            return labels[of].get(feature.latent, "")
        return title_of(opened.explained.entries(opened.index(feature.run).index), feature.latent)

    return title


def _words(found: Notebook) -> Iterable[FeatureWords]:
    """What is said, feature by feature."""
    features = dict.fromkeys(one.feature for one in (*found.labels, *found.stars, *found.notes))
    labels, starred = {one.key: one for one in found.labels}, {one.key for one in found.stars}
    notes, lists = dict[tuple[str, str, int], list[Note]](), dict[tuple[str, str, int], list[str]]()
    for note in found.notes:
        notes.setdefault(note.key, []).append(note)
    for item in found.items:
        lists.setdefault(item.key, []).append(item.list)
    for one in features:
        key = one.key
        yield FeatureWords(
            **one.to_json(),
            label=labels.get(key),
            starred=key in starred,
            notes=notes.get(key, []),
            lists=lists.get(key, []),
        )
