"""Text that a model writes under edits: token by token, each computed once."""

import math
from collections.abc import Collection, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sparselex.base.errors import UserError
from sparselex.base.seeds import checked
from sparselex.causal.edits import bound
from sparselex.causal.effects import check_finite
from sparselex.causal.kinds import Edit
from sparselex.lm.subject import SubjectModel


@torch.no_grad()
def generate(
    model: SubjectModel,
    tokens: Int[Tensor, "batch ctx"],
    n_new: int,
    *,
    edits: Sequence[Edit] = (),
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int | Sequence[int] = 0,
    stop: Collection[int] = (),
) -> Int[Tensor, "batch ctx_and_new"]:
    """`tokens` and what the model writes behind them, `n_new` tokens at most: fewer once every row has written a token
    of `stop`, behind which a row only repeats it.

    At temperature 0 each token is the likeliest; else it is drawn from the likeliest tokens that have `top_p` of the
    probability. Each row draws by a `seed`, one for all or one of its own, so that what it writes does not hang on the
    others: two rows of one seed that differ in their edits alone have the same chance. Positions of edits count from
    the first token.

    Raises `UserError` for more tokens than the model reads, for options out of range, and where the edits leave no
    finite logits.
    """
    _check(model, tokens, n_new, temperature, top_p)
    seeds = [seed] * len(tokens) if isinstance(seed, int) else list(seed)
    if len(seeds) != len(tokens):
        raise UserError(
            f"{len(seeds)} seeds were given for {len(tokens)} rows.", "one seed, or one for each row", "give as many."
        )
    chance = [torch.Generator().manual_seed(checked(one)) for one in seeds]
    done = torch.zeros(len(tokens), dtype=torch.bool)
    past, new, start = None, tokens, 0
    n_read = tokens.shape[1] + n_new - 1  # the last token is written and not read
    for _ in range(n_new):
        seen = model.extend(new, past, bound(edits, start, until=n_read))
        chosen = _next(model.predict(seen.last[:, -1]).float().cpu(), temperature, top_p, chance)
        chosen = torch.where(done, tokens[:, -1], chosen)
        done |= torch.isin(chosen, torch.tensor([*stop], dtype=chosen.dtype))
        tokens = torch.cat([tokens, chosen[:, None]], dim=1)
        if bool(done.all()):
            break
        past = seen.past
        # A model that keeps no keys and values reads everything again.
        new, start = (tokens, 0) if past is None else (chosen[:, None], tokens.shape[1] - 1)
    return tokens


def _next(
    logits: Float[Tensor, "batch n_vocab"], temperature: float, top_p: float, chance: Sequence[torch.Generator]
) -> Int[Tensor, " batch"]:
    check_finite(logits)
    if temperature == 0:
        return logits.argmax(-1)
    if top_p < 1:
        ordered, order = logits.div(temperature).softmax(-1).sort(-1, descending=True)
        left_out = ordered.cumsum(-1) - ordered >= top_p  # the likeliest always stays
        logits = logits.masked_fill(left_out.gather(-1, order.argsort(-1)), -torch.inf)
    # The largest of log-probabilities with Gumbel noise is a draw by these probabilities.
    uniform = torch.stack([torch.rand(logits.shape[-1], generator=one, dtype=torch.float64) for one in chance])
    return (logits.double() / temperature - uniform.clamp_min(1e-300).log().neg().log()).argmax(-1)


def _check(model: SubjectModel, tokens: Tensor, n_new: int, temperature: float, top_p: float) -> None:
    if not tokens.shape[1]:
        raise UserError("A prompt of no tokens was given.", "at least one token", "write something to go on from.")
    if n_new < 1 or not 0 <= temperature < math.inf or not 0 < top_p <= 1:
        raise UserError(
            f"{n_new} new tokens at temperature {temperature} and top_p {top_p} were asked for.",
            "at least 1 token, a finite temperature from 0, and top_p above 0 and at most 1",
            "choose such numbers.",
        )
    if tokens.shape[1] + n_new > model.n_ctx:
        raise UserError(
            f"{tokens.shape[1]} tokens and {n_new} new ones were asked for.",
            f"at most {model.n_ctx} in all, which is what {model.name} reads",
            "shorten the prompt, or ask for fewer.",
        )
