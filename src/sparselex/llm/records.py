"""What is asked of a language model, and what comes back. No network here, and nothing of features."""

from collections.abc import Generator, Sequence
from concurrent.futures import Future
from typing import Any, Literal, NamedTuple, Protocol, Self, TypeAlias, TypeVar, runtime_checkable

from pydantic import Field, model_validator

from sparselex.base.config import Config
from sparselex.base.figures import Failure

Result = TypeVar("Result")


class Message(NamedTuple):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Request(Config):
    """One question. Two equal ones are one: what was answered before is not asked again."""

    messages: tuple[Message, ...]
    """The conversation so far, what is asked last."""

    max_tokens: int = Field(gt=0)
    """Tokens that the answer may have."""

    temperature: float = Field(default=0.0, ge=0)
    """How freely the answer is drawn; 0 takes the likeliest."""

    n: int = Field(default=1, ge=1, le=128)
    """Answers that are drawn; more than one needs a temperature above 0."""

    seed: int | None = None
    """Of the draw, where the server takes one; also tells apart questions that are to be answered anew."""

    form: dict[str, Any] | None = None
    """JSON Schema of the answer, where the server can hold it to one; None for free text."""

    choices: tuple[str, ...] = ()
    """Answers of which the probabilities alone are wanted, where these are told without writing: nothing is written,
    and the answer is the likeliest of them, with all of them as the alternatives of its one token."""

    continuation: str = ""
    """Text that stands directly behind the one message, which is plain text then with no chat around it: nothing is
    written, and the answer is this text with the log-probabilities of its tokens. One that begins inside the message
    belongs to it. What shapes an answer that is written counts for nothing here."""

    plain: bool = False
    """Whether the one message is plain text with no chat around it, and the answer what comes behind it."""

    stop: str = Field(default="", max_length=64)
    """Text at which an answer to plain text ends; it is left out of it."""

    top_logprobs: int = Field(default=0, ge=0, le=20)
    """Alternatives wanted for each token of the answer, with their log-probabilities."""

    purpose: str = ""
    """What is being done, such as `detection`, for the account of tokens; not part of what is asked."""

    @model_validator(mode="after")
    def _one_text_before(self) -> Self:
        if self.continuation and len(self.messages) != 1:
            raise ValueError(f"a continuation stands behind one message, which may be empty; not {len(self.messages)}")
        return self

    @model_validator(mode="after")
    def _plain_text_is_written_on(self) -> Self:
        if self.plain and (len(self.messages) != 1 or self.continuation or self.choices or self.form):
            raise ValueError("plain text is one message, and nothing but what comes behind it is asked for")
        if self.stop and not self.plain:
            raise ValueError("only an answer to plain text ends at a given one")
        return self

    @model_validator(mode="after")
    def _several_are_drawn(self) -> Self:
        if self.n > 1 and (not self.temperature or self.continuation):
            raise ValueError(f"{self.n} answers are drawn at a temperature above 0, and not {self.temperature}")
        return self

    @property
    def text(self) -> str:
        """Of a continuation: the plain text that it is read behind, and itself."""
        return self.messages[0].content + self.continuation


class Token(NamedTuple):
    """One token of an answer, with what might have stood in its place."""

    text: str
    logprob: float
    alternatives: tuple[tuple[str, float], ...]
    """Text and log-probability of each, the likeliest first."""


class Answer(Config):
    """What a model said."""

    text: str
    """The whole answer."""

    others: tuple[str, ...] = ()
    """Where `n` answers were wanted the other n - 1, each drawn by itself."""

    tokens: tuple[Token, ...] = ()
    """Its tokens, where log-probabilities were wanted and the server gives them. Of a continuation that has nothing
    before it, not even a token that begins every text, the first is left out: nothing predicts it."""

    cut: bool = False
    """Whether it ended for want of tokens."""

    n_prompt_tokens: int = 0
    """Tokens that were read, as the server counts them; 0 where it does not say."""

    n_answer_tokens: int = 0
    """Tokens that were written, the others with them."""


class Capabilities(Config):
    """What a server can do, as it was found to."""

    schema_answers: bool = False
    """Holds answers to a JSON Schema."""

    logprobs: bool = False
    """Gives log-probabilities of the answer's tokens and their alternatives."""

    seed: bool = False
    """Takes a seed."""

    choices: bool = False
    """Tells the probabilities of given answers by reading alone, for many questions that begin alike at little
    cost."""

    n: bool = False
    """Draws several answers to one question, which it reads once; else it is asked for each."""

    continuations: bool = False
    """Tells the log-probabilities of a given text behind another."""

    plain: bool = False
    """Writes on from plain text, with no chat around it."""

    n_ctx: int | None = None
    """Tokens of question and answer together at most; None where it does not say."""


@runtime_checkable
class Client(Protocol):
    """Somebody who answers. Whatever goes wrong with one question is a failure in place of its answer."""

    model: str
    """Who answers, for records: the model's name."""

    def capabilities(self) -> Capabilities:
        """What can be asked for. Raises `UserError` where nobody answers at all."""
        ...

    def submit(self, request: Request) -> "Future[Answer | Failure]":
        """Ask; returns at once, or when there is room for one more open question."""
        ...

    @property
    def stopped(self) -> str | None:
        """Why nothing more is asked (a budget is spent), or None. What was asked before is still answered; whatever is
        submitted after it fails."""
        ...


Talk: TypeAlias = Generator[Sequence[Request], Sequence[Answer | Failure], Result]
"""A conversation towards a result: it yields what is to be asked now, is sent the answers in the same order, and may
ask again. It knows no network and no order of work, so that many of them can be held at once."""
