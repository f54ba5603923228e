"""How a language model is reached, and how much it may be asked."""

import re
from typing import Annotated, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, field_validator, model_validator

from sparselex.base.bounds import Count, Tokens
from sparselex.base.config import Config
from sparselex.base.errors import UserError

_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")
"""Keys are seldom written like this, so that one given in place of its variable's name is refused and never shown."""

Price = Annotated[float, Field(ge=0, le=10**6, allow_inf_nan=False)]
"""US dollars for a million tokens."""

Seconds = Annotated[float, Field(gt=0, le=10**5, allow_inf_nan=False)]
"""A time to wait."""


class LLMConfig(Config):
    """A server that speaks OpenAI's chat completions, who is asked there, how fast, and for how much."""

    url: str
    """Address of the server up to `/v1`, such as `http://127.0.0.1:8000/v1`."""

    model: str = Field(min_length=1, max_length=500)
    """Name of the model, as the server has it."""

    key_env: str | None = None
    """Environment variable that holds the key; the key itself is never written down. None where the server wants
    none."""

    concurrency: int = Field(default=32, gt=0, le=1024)
    """Most questions that are open at once; fewer are while the server refuses some for want of room."""

    timeout_s: Seconds = 120.0
    """Seconds that an answer may take."""

    retries: int = Field(default=8, ge=0, le=100)
    """How often a question is asked again that was refused for want of room, or whose answer was lost."""

    retry_wait_s: Seconds = 0.5
    """Seconds before it is asked again, doubled each time; a server that names a time is heard."""

    budget_requests: Count | None = None
    """Requests that may be sent; None for any number. Answers that are at hand cost nothing."""

    budget_tokens: Tokens | None = None
    """Tokens of prompts and answers together; None for any number."""

    budget_usd: float | None = Field(default=None, gt=0, le=10**9, allow_inf_nan=False)
    """US dollars that may be spent, which needs both prices; None for any amount."""

    usd_per_million_prompt: Price | None = None
    """Price of a million tokens that are read."""

    usd_per_million_answer: Price | None = None
    """Price of a million tokens that are written."""

    replay: bool = False
    """Take answers from the workspace alone: nothing is sent, and a question that was not answered before fails."""

    @field_validator("url")
    @classmethod
    def _plain_address(cls, url: str) -> str:
        if fault := _fault(url.strip()):
            # Not shown: it may hold a password.
            raise UserError(
                f"The address of the language model {fault}.",
                "a plain http or https address up to /v1, such as http://127.0.0.1:8000/v1",
                "give the address alone, and a key by the name of an environment variable.",
            )
        return url.strip().rstrip("/").removesuffix("/chat/completions")

    @field_validator("key_env")
    @classmethod
    def _variable(cls, name: str | None) -> str | None:
        if name is not None and not _VARIABLE.fullmatch(name):
            raise UserError(
                "What was given for the key is no name of an environment variable.",
                "a name of capital letters, digits and underscores, such as OPENAI_API_KEY",
                "put the key into such a variable and give its name, never the key.",
            )
        return name

    @model_validator(mode="after")
    def _prices_for_a_budget(self) -> Self:
        if self.budget_usd is not None and None in (self.usd_per_million_prompt, self.usd_per_million_answer):
            raise ValueError("a budget in dollars needs the prices of a million prompt tokens and answer tokens")
        return self


def _fault(url: str) -> str:
    """What is wrong with an address, in words; empty if nothing is."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises for one that is no number
    except ValueError:
        return "is none"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "does not begin with http:// or https:// and a host"
    return _too_much(parts, url)


def _too_much(parts: SplitResult, url: str) -> str:
    if "@" in parts.netloc:
        return "holds a user name or a password"
    if parts.query or parts.fragment or "?" in url or "#" in url:
        return "holds a query or a fragment"
    return "" if url.isascii() and url.isprintable() and " " not in url else "holds blanks or signs that none has"
