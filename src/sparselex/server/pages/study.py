"""`/studies/<study>`: one case study, beside as many features that nobody picked."""

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Annotated

import numpy as np
from pydantic import StringConstraints

from sparselex.base.bounds import SEEDS, Seed
from sparselex.base.config import Config
from sparselex.base.formats import number, percent
from sparselex.base.seeds import generator
from sparselex.features.windows import ExampleView, Windows
from sparselex.server.notes.blocks import BODY, Block
from sparselex.server.notes.markdown import to_markdown
from sparselex.server.notes.records import NO_POSITION, Feature, Notebook, Pin, Study
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, Download, NoSuchPage, Page, PageRecord
from sparselex.server.pages.brief import LatentView, brief
from sparselex.server.pages.notes import dictionaries, titles_of

StudyId = Annotated[str, StringConstraints(max_length=100)]
"""What an address calls a case study."""


class PinView(Config):
    """Something pinned to a case study."""

    pin: Pin
    """What is pinned."""

    is_now: bool
    """Whether it is of the dictionary that the run has now."""

    title: str
    """The feature's label, or else its explanation in short; empty if there is neither."""

    example: ExampleView | None
    """The example with the activations on its tokens; None where none is pinned, or the run has another corpus now."""


class BesideView(Config):
    """The picked features of one run, beside as many that were drawn at random."""

    run: str
    """The run."""

    dictionary: str
    """Id of its dictionary."""

    picked: list[LatentView]
    """Features that are pinned, or of which an example is, each once."""

    drawn: list[LatentView]
    """As many of the run's living latents, drawn at random."""

    n_living: int
    """From how many they were drawn."""

    def median_score(self, side: str) -> float | None:
        """The median score of the `picked` or the `drawn` ones that have one."""
        scores = [one.score.value for one in getattr(self, side) if one.score is not None]
        return median(scores) if scores else None


class StudyPage(PageRecord):
    """`/studies/<study>`: a text with the features and examples that it is about, beside features drawn at random."""

    study: Study
    """The case study."""

    pins: list[PinView]
    """What is pinned to it, in the order in which that was done."""

    beside: list[BesideView]
    """By run, what was picked and what was drawn; of the dictionaries that the runs have now."""

    seed: int
    """By what it was drawn."""

    next_seed: int
    """By what others again are drawn."""


def study_page(opened: OpenWorkspace, study: StudyId, seed: Seed = 0) -> StudyPage:
    """One case study, with a sample drawn by `seed`. Raises `NoSuchPage` for one that is not there."""
    found = next((one for one in opened.notes.studies() if one.id == study), None)
    if found is None:
        raise NoSuchPage(f"There is no case study {study[:40]!r}.", "one of those on the page of notes", "choose one.")
    now, titles = dictionaries(opened), titles_of(opened)
    pins = [
        PinView(pin=pin, is_now=is_now, title=titles(pin), example=_example(opened, pin) if is_now else None)
        for pin in opened.notes.pins(found.id)
        for is_now in (now.get(pin.run) == pin.dictionary,)
    ]
    return StudyPage(
        title=found.title,
        study=found,
        pins=pins,
        beside=list(_beside(opened, [one.pin for one in pins if one.is_now], seed)),
        seed=seed,
        next_seed=(seed + 1) % SEEDS,
    )


def export(opened: OpenWorkspace, study: StudyId, seed: Seed = 0) -> Download:
    """One case study as a Markdown file that can be taken up again, with what stands beside it."""
    page = study_page(opened, study, seed)
    blocks = [
        _block(kind, one, side, seed)
        for one in page.beside
        for kind, latents in (("Picked", one.picked), ("Drawn", one.drawn))
        for side in latents
    ]
    notebook = Notebook(studies=[page.study], pins=[one.pin for one in page.pins])
    content = to_markdown(notebook, {page.study.id: blocks}).encode()
    return Download(name="case-study.md", content=content, media_type="text/markdown")


PAGE = Page(path="/studies/{study}", build=study_page, template=TEMPLATES / "study.html")
EXPORT = Page(path="/studies/{study}/export", build=export)


def _example(opened: OpenWorkspace, pin: Pin) -> ExampleView | None:
    """A pinned example as it lies in the corpus."""
    if pin.position == NO_POSITION or not opened.has(pin.run, "index"):
        return None
    found = opened.index(pin.run)
    if pin.position >= found.index.corpus.n_rows * found.index.corpus.n_ctx or pin.latent >= found.index.d_sae:
        return None
    windows = Windows(found.index, pin.latent, found.texts)
    return windows.view(windows.at(pin.position))


def _beside(opened: OpenWorkspace, pins: Sequence[Pin], seed: int) -> Iterator[BesideView]:
    titles = titles_of(opened)
    for run in dict.fromkeys(pin.run for pin in pins):
        if not opened.has(run, "index"):
            continue
        picked = list(dict.fromkeys(pin.latent for pin in pins if pin.run == run))
        living = np.flatnonzero(opened.index(run).index.table["n_active"] > 0)
        drawn = generator(seed, "beside", run).permutation(living)[: len(picked)].tolist()
        dictionary = opened.dictionary_id(run)

        def views(latents: list[int], run: str = run, dictionary: str = dictionary) -> list[LatentView]:
            found = [brief(opened, run, latent) for latent in latents]
            features = [Feature(run=run, dictionary=dictionary, latent=latent) for latent in latents]
            return [
                one.model_copy(update={"title": titles(feature)}) for one, feature in zip(found, features, strict=True)
            ]

        yield BesideView(run=run, dictionary=dictionary, picked=views(picked), drawn=views(drawn), n_living=len(living))


def _block(kind: str, beside: BesideView, one: LatentView, seed: int) -> Block:
    """A feature beside a case study, as the file says it."""
    values = {"dictionary": beside.dictionary, "active on": percent(one.density)}
    if kind == "Drawn":
        values["seed"] = str(seed)
    if one.score is not None:
        values["score"] = f"{number(one.score.value, 3)} ({one.score.scorer} {one.score.metric})"
        values["null"] = "not made" if one.score.null is None else number(one.score.null, 3)
    else:
        values["score"] = "unscored"
    if one.title:
        values[BODY] = one.title
    return Block(3, f"{kind} {beside.run} {one.latent}", values)
