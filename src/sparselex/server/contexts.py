"""What each page shows, as records: the page's URL with `.json` behind it returns exactly this."""

from sparselex.base.config import Config
from sparselex.base.records import Figure
from sparselex.evaluate.records import DensityHistogram
from sparselex.explain.records import Explanation
from sparselex.features.records import Histogram, Neighbour, SplitStatistics
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

    text: str
    """Source of the text."""

    dictionary: str | None
    """Type and size of the dictionary; None if not trained yet."""

    n_tokens: int | None
    """Tokens it was trained on."""

    missing: list[str]
    """Stages not finished yet."""

    indexed: bool
    """Whether its features can be browsed."""


class OverviewPage(Config):
    """`/`: the workspace at a glance."""

    title: str
    """Title of the page."""

    runs: list[RunSummary]
    """Every run."""

    figures: list[Figure]
    """The report: figures of the main run beside its controls; empty if nothing is evaluated."""

    control_names: list[str]
    """Controls in the order of the table's columns."""

    verdicts: list[str]
    """Where the figures differ from the random twin's and where not."""

    densities: dict[str, DensityHistogram]
    """Density histogram of each evaluated run."""


class FeatureRow(Config):
    """One line of the feature list."""

    latent: int
    """Number of the latent."""

    title: str
    """Its explanation in short."""

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


class Span(Config):
    """A run of tokens whose bytes join into whole characters."""

    text: str
    """Printable text."""

    value: float
    """Activation of its last token."""

    level: int
    """Heat from 0 to 10, relative to the latent's largest activation."""

    detail: str
    """Tokens and activations in words."""


class ExampleView(Config):
    """An example with the text around it."""

    position: int
    """Position in the corpus."""

    document: str
    """Name of the document."""

    value: float
    """Activation at the position."""

    spans: list[Span]
    """Text around it, inside the same document and row."""


class IntervalView(Config):
    """Examples from one range of activation."""

    low: float
    """Lower end, excluded."""

    high: float
    """Upper end, included."""

    n: int
    """Training tokens in the range."""

    examples: list[ExampleView]
    """Drawn at random."""


class TokenView(Config):
    """A token and a number."""

    token: int
    """Token id."""

    text: str
    """Printable text."""

    value: float
    """Logit change per unit of activation."""


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

    dead: bool
    """Never active on the counted tokens."""

    density: float
    """Share of counted tokens on which it is active."""

    max: float
    """Largest activation over all splits."""

    n_tokens: int
    """Tokens counted."""

    explanation: Explanation | None
    """Rule, abstention or failure; None if not explained yet."""

    statistics: dict[Split, SplitStatistics]
    """By split."""

    histogram: Histogram | None
    """Sizes of the activations."""

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

    neighbours: list[Neighbour]
    """Nearest decoder directions."""

    provenance: dict[str, str]
    """Ids of everything it was made from."""


class AboutPage(Config):
    """`/about/<run>`: manifests of all artifacts of a run."""

    title: str
    """Title of the page."""

    run: str
    """Name of the run."""

    manifests: dict[str, dict]
    """By kind of artifact, file lists left out."""


class ErrorPage(Config):
    """What is shown when there is no page."""

    title: str
    """What happened, in short."""

    status: int
    """HTTP status."""

    message: str
    """A plain sentence."""
