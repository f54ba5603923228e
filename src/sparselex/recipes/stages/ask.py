"""`explain --llm`: feature records in, explanations by a language model with scores by a language model out."""

from typing import Annotated, Any

from pydantic import Field

from sparselex.base.errors import UserError
from sparselex.base.files import fingerprint
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.labels import LABEL, labels_of
from sparselex.explain.asking.summary import AskSummary
from sparselex.explain.asking.there import writes
from sparselex.explain.store import ExplanationStore
from sparselex.llm.config import LLMConfig
from sparselex.lm.config import ModelDtype
from sparselex.recipes.option import Option
from sparselex.recipes.stage import Stage

_LLM = LLMConfig.model_fields

LOCAL = "local"
"""What is given for the address of a server where there is to be none."""

Price = Annotated[float | None, Field(ge=0, le=10**6)]
"""US dollars for a million tokens."""


class Ask(Stage, AskConfig):
    """Have a language model explain features, and judge each explanation on held-out documents."""

    verb = "explain-llm"
    needs = ("dictionary", "index")
    makes = "explanations-llm"
    work = "sparselex.recipes.work.ask:ask_run"
    gives = "sparselex.recipes.stages.ask:summary_of"

    llm: Annotated[str, Option("--llm", metavar="URL")] = ""
    """Explain by the language model behind this address, which speaks OpenAI's chat completions (vLLM, llama.cpp,
    Ollama, or a hosted one), up to `/v1`; `local` for a model that is loaded here, without a server."""

    llm_model: Annotated[str, Option("--llm-model", metavar="NAME")] = ""
    """Name of the model, as that server has it; of a local one `smollm2`, a name of the hub, a folder or a GGUF
    file."""

    llm_device: Annotated[str, Option("--llm-device", in_passing=True)] = "cpu"
    """Where a local model runs, such as `cuda`."""

    llm_dtype: Annotated[ModelDtype, Option("--llm-dtype")] = "float32"
    """Precision in which a local model runs; bfloat16 is about twice as fast on processors that have it, and `auto`
    takes that of its files."""

    stored_as: Annotated[str, Option("--as", metavar="NAME"), *AskConfig.model_fields["stored_as"].metadata] = ""
    """Name under which explanations are kept, so that those of several models stand side by side; left out, that of
    the writer."""

    key_env: Annotated[str | None, Option("--llm-key-env", metavar="VARIABLE", in_passing=True)] = None
    """Environment variable that holds the key, where the server wants one; the key itself is never written down."""

    concurrency: Annotated[int, Option("--llm-concurrency", in_passing=True), *_LLM["concurrency"].metadata] = 32
    """Most questions that are open at once; fewer are while the server refuses some for want of room."""

    timeout_s: Annotated[float, Option("--llm-timeout", in_passing=True), *_LLM["timeout_s"].metadata] = 120.0
    """Seconds that an answer may take."""

    budget_requests: Annotated[int | None, Option("--budget-requests", in_passing=True), Field(gt=0, le=10**9)] = None
    """Requests that may be sent; left out, any number. Answers that are at hand cost nothing."""

    budget_tokens: Annotated[int | None, Option("--budget-tokens", in_passing=True), Field(gt=0, le=10**15)] = None
    """Tokens read and written together that may be paid for; left out, any number."""

    budget_usd: Annotated[float | None, Option("--budget-usd", in_passing=True), Field(gt=0, le=10**9)] = None
    """US dollars that may be spent, which needs both prices; left out, any amount."""

    price_prompt: Annotated[Price, Option("--usd-per-million-prompt", in_passing=True)] = None
    """Price of a million tokens that are read, in US dollars."""

    price_answer: Annotated[Price, Option("--usd-per-million-answer", in_passing=True)] = None
    """Price of a million tokens that are written, in US dollars."""

    replay: Annotated[bool, Option("--replay", in_passing=True)] = False
    """Take answers from the workspace alone: nothing is sent, and a question that was not answered before fails."""

    def check_named(self) -> None:
        """Raise `UserError` where no model is named."""
        for name, given in (("--llm", self.llm), ("--llm-model", self.llm_model)):
            if not given:
                raise UserError(
                    f"No {name} was given.",
                    "the address of a server up to /v1, and the name of a model that it has",
                    "give for example --llm http://127.0.0.1:8000/v1 --llm-model NAME.",
                )

    def server(self) -> LLMConfig:
        """How the server is reached. Raises `UserError` where none is named."""
        self.check_named()
        names = {"url": "--llm", "model": "--llm-model", "usd_per_million_prompt": "--usd-per-million-prompt"}
        values = {
            "url": self.llm,
            "model": self.llm_model,
            "key_env": self.key_env,
            "concurrency": self.concurrency,
            "timeout_s": self.timeout_s,
            "budget_requests": self.budget_requests,
            "budget_tokens": self.budget_tokens,
            "budget_usd": self.budget_usd,
            "usd_per_million_prompt": self.price_prompt,
            "usd_per_million_answer": self.price_answer,
            "replay": self.replay,
        }
        return LLMConfig.parse(values, "the options of explain", names=names)

    def facts(self, run: Any) -> str | None:
        """Of explanations that are only judged, what they say: they may be others now."""
        if writes(self):
            return None
        database = run.workspace.database
        if self.writer == LABEL:
            said = labels_of(database, run.name, run.manifest("dictionary").id)
            return fingerprint(sorted(said.items()))
        explanations = ExplanationStore(database).all(run.manifest("index").id, self.writer)
        return fingerprint([(one.latent, one.status, one.text) for one in explanations])

    def is_whole(self, run: Any) -> bool:
        found = summary_of(run)
        return not (found.stopped or found.n_failed or found.n_left)

    def shown(self, run: Any) -> AskSummary:
        return summary_of(run)

    def line(self, run: Any, shown: AskSummary) -> str:
        return str(shown)


def summary_of(run: Any) -> AskSummary:
    """What came of a run's explanations by a language model."""
    run.manifest(Ask.makes)
    return AskSummary.of(run.folder / Ask.makes)
