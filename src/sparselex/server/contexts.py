"""What each page shows, as records: the page's URL with `.json` behind it returns exactly this."""

from typing import Any

from sparselex.atlas.records import SweepReport
from sparselex.base.config import Config
from sparselex.base.figures import Figure
from sparselex.evaluate.records import DensityHistogram
from sparselex.explain.records import Explanation, Score
from sparselex.features.records import Histogram, SplitStatistics
from sparselex.features.windows import ExampleView
from sparselex.text.splits import Split


class RunSummary(Config):
    """What was trained on what."""

    name: str
    """Name of the run."""

    model: str
    """The model read."""

    control: str
    """Which random-weight control of it; `none` for the model itself."""

    hook: str
    """Where it was read."""

    dictionary: str | None
    """Type and size of the dictionary; None if not trained yet."""

    n_tokens: int | None
    """Tokens it was trained on; None if that is not known."""

    imported_from: str | None
    """Where the dictionary came from, if it was not trained here."""

    missing: list[str]
    """Stages not finished yet."""

    indexed: bool
    """Whether its features can be browsed."""


class CorpusSummary(Config):
    """The text that all runs of the workspace share."""

    source: str
    """Where it came from."""

    n_tokens: int
    """Tokens in all documents."""

    n_documents: dict[Split, int]
    """Documents by split; no document is in two."""

    n_ctx: int
    """Tokens in a row, which is all that the model sees at once."""


class FigureGroup(Config):
    """Figures whose names begin alike."""

    name: str
    """Beginning of the names, such as `core`."""

    figures: list[Figure]
    """The figures with their controls."""


class OverviewPage(Config):
    """`/`: the workspace at a glance."""

    title: str
    """Title of the page."""

    workspace: str
    """Name of the workspace's folder."""

    corpus: CorpusSummary | None
    """The text; None if there is no corpus yet."""

    runs: list[RunSummary]
    """Every run."""

    groups: list[FigureGroup]
    """The report: figures of the main run beside its controls; empty if nothing is reported yet."""

    control_names: list[str]
    """Controls in the order of the table's columns."""

    verdicts: list[str]
    """Where the figures differ from the random twin's and where not."""

    notice: str
    """What is missing from the report or too old in it, and what to do; empty if nothing."""

    densities: dict[str, DensityHistogram]
    """Density histogram of each evaluated run."""

    sweeps: dict[str, SweepReport]
    """The sweep of each run that has one."""


class FeatureRow(Config):
    """One line of the feature list."""

    latent: int
    """Number of the latent."""

    title: str
    """Its explanation in short, or why there is none."""

    status: str
    """explained, abstained, failed, or unexplained."""

    f1: float | None
    """F1 of the explanation on test documents."""

    null_f1: float | None
    """F1 of its null."""

    density: float
    """Share of counted tokens on which it is active."""

    max: float
    """Largest activation."""

    top_token: str
    """Token of its largest training activation."""

    flags: list[str]
    """dead, dense."""


class FeaturesPage(Config):
    """`/runs/<run>/features`: the list."""

    title: str
    """Title of the page."""

    run: str
    """Name of the run."""

    control: str
    """Which random-weight control of the model the run read; `none` for the model itself."""

    rows: list[FeatureRow]
    """One page of the list."""

    n_found: int
    """Latents that fit the search."""

    n_latents: int
    """Latents of the dictionary."""

    page: int
    """Number of this page, from 1."""

    n_pages: int
    """Number of pages."""

    query: str
    """The search: words of explanations or tokens, or a latent's number."""

    sort: str
    """Column of the order."""

    descending: bool
    """Largest first."""


class IntervalView(Config):
    """Examples from one range of activation."""

    low: float
    """Lower end, excluded."""

    high: float
    """Upper end, included."""

    n: int
    """Training tokens in the range."""

    examples: list[ExampleView]
    """Drawn at random from them, at most one a row."""


class TokenView(Config):
    """A token and a number."""

    token: int
    """Token id."""

    text: str
    """Printable text."""

    value: float
    """Logit change per unit of activation."""


class NeighbourView(Config):
    """Another latent with a similar direction."""

    latent: int
    """Its number."""

    cosine: float
    """Cosine of the two decoder rows."""

    title: str
    """Its explanation in short; empty if there is none."""


class FeaturePage(Config):
    """`/runs/<run>/features/<latent>`: everything about one feature."""

    title: str
    """Title of the page."""

    run: str
    """Name of the run."""

    latent: int
    """Number of the latent."""

    previous: int
    """The latent before, around the end."""

    next: int
    """The latent after, around the end."""

    control: str
    """Which random-weight control of the model the run read; `none` for the model itself."""

    hook: str
    """Where the model was read."""

    flags: list[str]
    """dead, dense."""

    dead: bool
    """Never active on the counted tokens."""

    density: float
    """Share of counted tokens on which it is active."""

    max: float
    """Largest activation by size over all splits; full heat on this page."""

    n_tokens: int
    """Tokens counted."""

    explanation: Explanation | None
    """Rule, abstention or failure; None if not explained yet."""

    scores: list[Score]
    """Its scores on test documents; empty unless explained."""

    definitions: dict[str, str]
    """What each measure among the scores is."""

    statistics: dict[Split, SplitStatistics]
    """By split."""

    histogram: Histogram | None
    """Sizes of the activations over all splits; None for a dead latent."""

    top: list[ExampleView]
    """Largest training activations."""

    intervals: list[IntervalView]
    """Random training examples by range."""

    logits_top: list[TokenView]
    """Tokens promoted most."""

    logits_bottom: list[TokenView]
    """Tokens suppressed most."""

    logits_note: str
    """What the logit effects are, or why there are none."""

    neighbours: list[NeighbourView]
    """Nearest decoder directions."""

    provenance: dict[str, str]
    """Ids of everything it was made from."""


class ArtifactView(Config):
    """One artifact: what it is and from what it came."""

    kind: str
    """Kind of artifact."""

    id: str
    """Hash of its kind, configuration, inputs and contents."""

    code_version: str
    """Version of sparselex that wrote it."""

    inputs: dict[str, str]
    """Ids of what it was made from, by role."""

    config: dict[str, Any]
    """Configuration, enough to make it again."""

    notes: dict[str, Any]
    """What was counted on the way."""

    n_files: int
    """Number of its files."""

    n_bytes: int
    """Size of its files in bytes."""


class AboutPage(Config):
    """`/about/<run>`: where everything in a run came from."""

    title: str
    """Title of the page."""

    run: str
    """Name of the run."""

    indexed: bool
    """Whether its features can be browsed."""

    artifacts: list[ArtifactView]
    """The corpus, then the run's artifacts in the order in which they are made."""

    missing: list[str]
    """Artifacts that are not there."""


class ErrorPage(Config):
    """What is shown when there is no page."""

    title: str
    """What happened, in short."""

    status: int
    """HTTP status."""

    message: str
    """A plain sentence."""

    todo: str
    """What to do next."""
