"""`/runs/<run>/rubric`: examples of one interval of activation to be scored, without being told of what; and
`/runs/<run>/rubric/results`, what came of it."""

import secrets
import time

from sparselex.base.config import Config
from sparselex.base.runs import RunCard
from sparselex.explain.ratings.question import Part
from sparselex.explain.rubric.question import Raised
from sparselex.explain.rubric.records import MOST, NEURONS, PAPER, TWINS
from sparselex.explain.rubric.store import RubricStore
from sparselex.explain.rubric.summary import RubricKind, kinds_of
from sparselex.server.opened import OpenWorkspace
from sparselex.server.page import TEMPLATES, Page, PageRecord
from sparselex.server.ratings_door import Rater
from sparselex.server.rubric_subjects import asking_of, subjects_of

ENOUGH = 10
"""Answers from which on the results are shown: of fewer a reader might guess what was what."""

_MADE_BY = {NEURONS: "neurons", TWINS: "twin"}
"""What `sparselex controls --kinds` calls what the paper compared with."""


class Scale(Config):
    """One score, and what its points mean."""

    name: str
    """Its name."""

    title: str
    """What a person reads."""

    points: dict[int, str]
    """What each number of points means."""


SCALES = (
    Scale(
        name="confidence",
        title="Confidence: how sure are you of it?",
        points={0: "I have none", 1: "a guess", 2: "likely", 3: "sure"},
    ),
    Scale(
        name="activation",
        title="Activation: how many of the marked tokens fit it?",
        points={0: "none", 1: "a few", 2: "fewer than half", 3: "more than half", 4: "nearly all", 5: "all"},
    ),
    Scale(
        name="logits",
        title="Logits: how many of the raised tokens fit it?",
        points={0: "none", 1: "some", 2: "most", 3: "all"},
    ),
    Scale(
        name="separation",
        title="Separation: are raised tokens that do not fit weaker than those that do?",
        points={0: "no", 1: "yes"},
    ),
    Scale(
        name="specificity",
        title="Specificity: how much other text would it leave out?",
        points={
            0: "none: it fits almost anything",
            1: "some",
            2: "most",
            3: "nearly all: it is narrow",
        },
    ),
)
"""The rubric of the 2023 paper, in our words."""


class RubricPage(PageRecord):
    """`/runs/<run>/rubric`: one question to a person. It says nothing of what it is about."""

    run: RunCard
    """What the run says of itself."""

    id: str
    """Drawn for this question."""

    begun: int
    """When it was asked, milliseconds since 1970."""

    shown: str
    """Fingerprint of what is shown; empty where there is nothing to ask."""

    windows: list[list[Part]]
    """Windows of test documents, the tokens marked on which it is as active as was drawn."""

    raised: list[Raised]
    """The tokens that it raises most."""

    scales: list[Scale]
    """What is to be scored."""

    rater: str
    """The name that the person gave."""

    n_answered: int
    """Answers about this run so far."""

    missing: dict[str, str]
    """What the paper compared with and this workspace has not, and what makes it."""


class RubricResultsPage(PageRecord):
    """`/runs/<run>/rubric/results`: points by what was shown."""

    run: RunCard
    """What the run says of itself."""

    n_answered: int
    """Answers about this run so far."""

    enough: int
    """Answers from which on the results are shown."""

    kinds: list[RubricKind]
    """What was given to each kind; none before there are answers enough."""

    paper: dict[str, float]
    """Medians of the 2023 paper."""

    most: int
    """Points at most."""

    scales: list[Scale]
    """What was scored."""

    missing: dict[str, str]
    """What the paper compared with and this workspace has not, and what makes it."""


def rubric(opened: OpenWorkspace, run: str, rater: Rater = "") -> RubricPage:
    """A question that nobody was asked before. Raises like `OpenWorkspace.index`."""
    index, id = opened.index(run).index, secrets.token_hex(8)
    asked = asking_of(opened, run).of(id)
    return RubricPage(
        title=f"{run}: rubric",
        run=opened.card(run),
        id=id,
        begun=int(time.time() * 1000),
        shown=asked.shown if asked else "",
        windows=asked.windows if asked else [],
        raised=asked.raised if asked else [],
        scales=[*SCALES],
        rater=rater,
        n_answered=RubricStore(opened.workspace.database).count(index.id),
        missing=_missing(opened, run),
    )


def rubric_results(opened: OpenWorkspace, run: str) -> RubricResultsPage:
    """What came of it. Raises like `OpenWorkspace.index`."""
    there = {one.features.id for one in subjects_of(opened, run)}
    answers = RubricStore(opened.workspace.database).all(opened.index(run).index.id, there)
    return RubricResultsPage(
        title=f"{run}: results of the rubric",
        run=opened.card(run),
        n_answered=len(answers),
        enough=ENOUGH,
        kinds=kinds_of(answers) if len(answers) >= ENOUGH else [],
        paper=dict(PAPER),
        most=MOST,
        scales=[*SCALES],
        missing=_missing(opened, run),
    )


PAGE = Page(path="/runs/{run}/rubric", build=rubric, template=TEMPLATES / "rubric.html")
RESULTS = Page(path="/runs/{run}/rubric/results", build=rubric_results, template=TEMPLATES / "rubric_results.html")


def _missing(opened: OpenWorkspace, run: str) -> dict[str, str]:
    if opened.card(run).twin_of is not None:  # a control is what others are compared with
        return {}
    there = {one.kind for one in subjects_of(opened, run)}
    command = f"sparselex controls {opened.workspace.typed} --run {run} --kinds"
    return {kind: f"{command} {name}" for kind, name in _MADE_BY.items() if kind not in there}
