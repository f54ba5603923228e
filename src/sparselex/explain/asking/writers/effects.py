"""What a latent does to the next token, in words: by its direction alone, and by what the model says when it is
amplified (VocabProj and TokenChange of Gur-Arieh et al. 2025, section 3; ours amplifies by a stated divergence, at
tokens of training text on which the latent is active)."""

from functools import lru_cache

from sparselex.base.errors import UserError
from sparselex.base.seeds import generator
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.rises import rises
from sparselex.explain.asking.steering import directions_of, prompts
from sparselex.explain.asking.subject import Opens, Subject
from sparselex.explain.asking.words import plain, quoted
from sparselex.explain.evidence import SplitEvidence

_TOKENS = 10
"""Tokens that are named of each kind."""

_PROMPTS, _LEAST = 10, 3
"""Training passages behind which the latent is amplified, and below how many that tells nothing."""


class Effects:
    """The effects of latents on the next token; `opens` opens the model, where there is one."""

    def __init__(self, train: SplitEvidence, config: AskConfig, opens: Opens | None):
        self.train, self.config, self._opens = train, config, opens
        # Of several explanations of one latent each is asked for by itself.
        self.amplified = lru_cache(maxsize=4)(self._amplified)

    def direct(self, latent: int) -> str:
        """Tokens whose logits its direction raises and lowers most; empty where there is no direct path."""
        up, down = self.train.logit_effects(latent)
        parts = (("Likelier next tokens", up), ("Less likely next tokens", down))
        return "\n".join(f"{words}: {self._listed(tokens)}." for words, tokens in parts if tokens)

    def subject(self) -> Subject | None:
        """The model, where it can be opened."""
        try:
            return self._opens() if self._opens else None
        except UserError:
            return None

    def _amplified(self, latent: int) -> str:
        """Tokens whose probability rises most, on average over training passages that end where it is active; empty
        where there is no model, or there are no such passages."""
        if (subject := self.subject()) is None:
            return ""
        rng = generator(self.config.seed, "amplified", latent)
        given = prompts(self.train, latent, _PROMPTS, self.config.window, rng)
        if len(given.ranks) < _LEAST:
            return ""
        found = rises(subject, given, directions_of(subject, latent), self.config.kl, _TOKENS)
        return f"Likelier next tokens when it is turned up behind texts: {self._listed(found.tokens)}."

    def _listed(self, tokens: list[int]) -> str:
        return ", ".join(quoted(plain(self.train.vocabulary, [token])) for token in tokens[:_TOKENS])
