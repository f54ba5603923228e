"""Public conformance checks: dictionaries, explainers, scorers, clients of language models, tasks, ours or others, held
against what their interfaces promise. Each raises `AssertionError` naming the broken promise."""

import json
import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from sparselex.base.figures import Failure
from sparselex.dictionaries.codes import Codes
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.judging import VOTES
from sparselex.explain.asking.protocols import Judges, Told, Tries, Weighs, Writes
from sparselex.explain.asking.subject import Opens
from sparselex.explain.config import ExplainConfig
from sparselex.explain.evidence import Evidence, HeldOut
from sparselex.explain.protocols import Explainer, Scorer
from sparselex.explain.records import Explanation, Judgement, Score, Scored
from sparselex.features.index import FeatureIndex
from sparselex.llm.records import Answer, Capabilities, Client, Message, Request, Talk
from sparselex.llm.talks import hold
from sparselex.tasks.records import END, LabelledPrompts, Part, Task, variables_of
from sparselex.tasks.rows import rows_of
from sparselex.text.tokenizer import Tokenizer


def check_dictionary(dictionary: Dictionary, n_tokens: int = 64, seed: int = 0) -> None:
    """Assert what every `Dictionary` promises, on random inputs. Raises `AssertionError` naming the broken promise."""
    x = torch.randn(n_tokens, dictionary.d_in, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        acts, codes = dictionary.encode(x), dictionary.encode_sparse(x)
        _close(codes.dense(), acts, "encode_sparse equals encode")
        assert isinstance(codes, Codes) and len(codes) == n_tokens, "encode_sparse covers every token"
        assert (codes.values != 0).all(), "codes list active latents only"
        _close(dictionary.decode(acts), dictionary.decode_sparse(codes), "decode_sparse equals decode")
        past = dictionary.bypass(x)
        whole = dictionary.decode(acts) if past is None else dictionary.decode(acts) + past
        _close(dictionary(x), whole, "forward is decode after encode, and what bypasses the latents")
        assert whole.shape == (n_tokens, dictionary.d_out), "reconstructions are [n, d_out]"
        _close(dictionary.decode(torch.zeros_like(acts[:1])), dictionary.b_dec[None], "no latent decodes to b_dec")
        rows = x.view(2, n_tokens // 2, -1)
        _close(dictionary.encode(rows), acts.view(2, n_tokens // 2, -1), "tokens may stand in rows")
        _close(dictionary(rows), whole.view(2, n_tokens // 2, -1), "tokens may stand in rows")
        halves = torch.cat([dictionary.encode(part) for part in x.split(n_tokens // 2)])
        _close(halves, acts, "a token's code does not depend on its batch")
        assert dictionary.W_dec.shape == (dictionary.d_sae, dictionary.d_out), "W_dec is [d_sae, d_out]"
        assert acts.shape == (n_tokens, dictionary.d_sae), "encode gives [n, d_sae]"
        assert len(dictionary.encode(x[:0])) == 0 and len(dictionary.encode_sparse(x[:0])) == 0, "no tokens are fine"
    x = x.clone().requires_grad_()
    found = dictionary.encode(x)
    if found.requires_grad and (found != 0).any():
        found.sum().backward()
    assert x.grad is not None and x.grad.isfinite().all() and (x.grad != 0).any(), "gradients flow from codes to inputs"


def check_explainer(
    kind: type[Explainer], index: FeatureIndex, *, name: str, options: dict[str, Any] | None = None, n_latents: int = 16
) -> list[Explanation]:
    """Assert what every `Explainer` promises, on `n_latents` latents of an index.

    `name` is the one under which `kind` is or will be registered; `options` are those of `ExplainConfig`. Returns what
    was said, so that a scorer can be tried on it.
    """
    config = ExplainConfig(options=options or {})
    assert isinstance(kind.explained, str) and kind.explained, "`explained` says what an explained latent has"
    explainer = kind(Evidence(index, config.seed), config)
    latents = _often_active(index, config.min_active, n_latents)
    found = {latent: explainer.explain(latent) for latent in latents}
    for latent, said in found.items():
        assert said == explainer.explain(latent), "the same latent is explained alike when asked again"
        _check_explanation(said, latent, name)
    return [said for said in found.values() if isinstance(said, Explanation)]


def check_scorer(
    kind: type[Scorer], index: FeatureIndex, explanations: Iterable[Explanation], *, name: str
) -> dict[int, Scored | Failure]:
    """Assert what every `Scorer` promises, on explanations of latents of an index, of which it can score one at least.

    `name` is the one under which `kind` is or will be registered. Returns what was made of each latent.
    """
    config = ExplainConfig()
    assert kind.headline in kind.definitions, "`headline` is one of the metrics in `definitions`"
    assert all(kind.definitions.values()), "`definitions` says of every metric what it is"
    held_out = HeldOut(index, config.seed)
    scorer, found = kind(held_out, config), {}
    for explanation in (e for e in explanations if e.status == "explained"):
        scored = found[explanation.latent] = scorer.score(explanation)
        assert scored == scorer.score(explanation), "the same explanation is scored alike when asked again"
        assert isinstance(scored, Scored | Failure), "`score` gives Scored or a Failure"
        if isinstance(scored, Failure):
            assert scored.reason, "a failure says why"
            continue
        rows: list[Score | Judgement] = [*scored.scores, *scored.judgements]
        by = {(row.explainer, row.scorer) for row in rows}
        assert by <= {(explanation.explainer, name)}, "rows name who made them"
        _check_scores(scored.scores, kind.definitions)
        _check_judgements(scored.judgements, held_out, explanation.latent)
    assert any(isinstance(scored, Scored) for scored in found.values()), "at least one explanation is scored"
    return found


def check_writer(
    kind: type[Writes],
    index: FeatureIndex,
    client: Client,
    *,
    config: AskConfig | None = None,
    subject: Opens | None = None,
    n_latents: int = 4,
) -> list[Explanation]:
    """Assert what every writer (`Writes`) promises, by having it explain `n_latents` latents of an index through a
    client; at least one is explained. Returns what was said, so that a judge can be tried on it.

    The name under which explanations are kept is given to them by the walk.
    """
    config = config or AskConfig()
    assert isinstance(kind.explained, str) and kind.explained, "`explained` says what an explained latent has"
    writer, can, found = kind(Evidence(index, config.seed), config, subject), client.capabilities(), []
    for latent in _often_active(index, config.min_active, n_latents):
        told = _held(client, writer.talk(latent, can))
        _check_told(told)
        assert not isinstance(told.found, Scored), "a writer explains, and scores nothing"
        _check_explanation(told.found, latent, getattr(told.found, "explainer", ""))
        assert told.found == _held(client, writer.talk(latent, can)).found, "the same answers, the same explanation"
        if isinstance(told.found, Explanation):
            found.append(told.found)
    assert found, "at least one latent is explained"
    return found


def check_judge(
    kind: type[Judges],
    index: FeatureIndex,
    client: Client,
    explanations: Sequence[Explanation],
    *,
    name: str,
    config: AskConfig | None = None,
    subject: Opens | None = None,
) -> dict[int, Scored | Failure]:
    """Assert what every judge (`Judges`) promises, by having it judge explanations of latents of an index through a
    client, each by itself and beside another one's; at least one is scored.

    `name` is the one under which `kind` is or will be registered. Returns what was made of each latent.
    """
    config = config or AskConfig()
    assert kind.headline in kind.definitions, "`headline` is one of the metrics in `definitions`"
    assert all(kind.definitions.values()), "`definitions` says of every metric what it is"
    held_out, can = HeldOut(index, config.seed), client.capabilities()
    judge = kind(Evidence(index, config.seed), held_out, config, subject)
    has_own = isinstance(judge, Tries | Weighs)
    assert kind.known in ("", VOTES) or has_own, "what is tried in a way of its own can weigh, or has a trial"
    assert judge.lacks(can) == "", f"the client can do what the judge needs: {judge.lacks(can)}"
    found = dict[int, Scored | Failure]()
    for place, explanation in enumerate(explanations):
        another = explanations[place - 1].text if len(explanations) > 1 else "text about nothing of the kind"
        told, beside = (_held(client, judge.talk(explanation, other, can)) for other in (None, another))
        _check_told(told)
        made = told.found
        assert not isinstance(made, Explanation), "a judge scores, and explains nothing"
        found[explanation.latent] = made
        if isinstance(made, Failure):
            continue
        assert isinstance(beside.found, Scored), "with another explanation beside it, it is scored as well"
        rows: list[Score | Judgement] = [*made.scores, *made.judgements]
        by = {(row.explainer, row.scorer) for row in rows}
        assert by <= {(explanation.explainer, name)}, "rows name who made them"
        _check_scores(made.scores, kind.definitions)
        _check_places(told, held_out)
        alone = {score.metric: score.value for score in made.scores}
        nulls = {score.metric: score for score in beside.found.scores}
        assert all(nulls[metric].value == value for metric, value in alone.items()), "a null changes no score"
        assert all(score.null is None for score in made.scores), "without another explanation there is no null"
        assert nulls[kind.headline].null is not None, "with another explanation the headline has its null"
    assert any(isinstance(one, Scored) for one in found.values()), "at least one explanation is scored"
    return found


def check_client(client: Client, *, stopped: Client | None = None, max_tokens: int = 16) -> Capabilities:
    """Assert what every `Client` promises, by some thirty small questions, which cost money where the client's do; at
    least the plain ones are answered.

    `stopped` is one of the same kind that asks nothing more, such as one whose budget is spent. Returns what the client
    says that it can do, each of which was tried.
    """
    assert isinstance(client, Client), "a client has a model's name, `capabilities`, `submit` and `stopped`"
    assert isinstance(client.model, str) and client.model, "`model` says who answers"
    can = client.capabilities()
    assert isinstance(can, Capabilities) and can == client.capabilities(), "`capabilities` says the same each time"
    plain = [_question(f"Say {word}.", max_tokens) for word in ("one", "two", "three", "four")]
    first = _asked(client, plain)
    assert _asked(client, plain[::-1])[::-1] == first, "equal questions have equal answers, in whatever order"
    assert _asked(client, plain[:1] * 3) == first[:1] * 3, "a question that is asked three times has one answer"
    assert any(isinstance(one, Answer) for one in first), "a plain question is answered"
    _check_forms(client, can, max_tokens)
    _check_votes(client, can)
    _check_draws(client, max_tokens)
    _check_continuations(client, can)
    _check_plain(client, can, max_tokens)
    if can.n_ctx is not None:
        (long,) = _asked(client, [_question("one two three " * can.n_ctx, max_tokens)])
        assert isinstance(long, Failure), "a question that is longer than the context is a failure"
    assert client.stopped is None, "a client that may go on is not stopped"
    if stopped is not None:
        assert all(isinstance(one, Failure) for one in _asked(stopped, plain)), "whoever is stopped answers nothing new"
        assert stopped.stopped, "`stopped` says why nothing more is asked"
    return can


def check_task(task: Task, tokenizer: Tokenizer, *, n_fit: int = 2000, n: int = 200) -> dict[Part, LabelledPrompts]:
    """Assert what every `Task` promises, on `n` prompts to be tested, with the values of `n_fit` that dictionaries are
    made of. Returns both as rows of tokens.

    Raises `UserError` where the task has fewer prompts than that, or values that those to be tested have alone.
    """
    assert isinstance(task, Task), "a task has all that `Task` names"
    assert task.name and task.id and task.words, "a task has a name, an id, and a sentence that says what it asks"
    assert END in task.roles and len(set(task.roles)) == len(task.roles), "`end` is a role, and each is there once"
    assert task.attributes and len(set(task.attributes)) == len(task.attributes), "each attribute is there once"
    assert all(n_left > 0 for n_left in task.left_out.values()), "what was left out is counted"
    fitted, again = (task.fillings(n_fit, "fit", np.random.default_rng(0)) for _ in range(2))
    tested = task.fillings(n, "evaluate", np.random.default_rng(0))
    assert (len(fitted), len(tested)) == (n_fit, n), "`fillings` gives as many as are wanted"
    assert fitted == again, "the same generator draws the same prompts"
    texts = [{task.prompt(one).text for one in fillings} for fillings in (fitted, tested)]
    assert not texts[0] & texts[1], "no prompt is of both parts"
    variables = set(variables_of(task))
    assert all(variables <= task.prompt(one).variables.keys() for one in fitted), "prompts have all variables"
    fit = rows_of(task, fitted, tokenizer)
    assert all(len(values) > 1 for values in fit.values.values()), "every attribute has several values"
    rows = rows_of(task, tested, tokenizer, fit)
    assert (rows.answers != rows.others).all(), "the answer is another token than what it is held against"
    _check_changes(task, tokenizer, rows)
    return {"fit": fit, "evaluate": rows}


def _check_changes(task: Task, tokenizer: Tokenizer, rows: LabelledPrompts) -> None:
    """A changed prompt has another value of one attribute, and is held against the same; a corrupted one is alike."""
    chance, alike = np.random.default_rng(0), [task.held_against(one) for one in rows.fillings]
    assert task.corruptions, "a way to lose the answer"
    ways = [(name, partial(task.changed, attribute=name, chance=chance)) for name in task.attributes]
    ways += [("", partial(task.corrupted, way=way, chance=chance)) for way in task.corruptions]
    for name, change in ways:
        others = [change(one) for one in rows.fillings]
        found = rows_of(task, others, tokenizer, rows)
        assert (found.ends == rows.ends).all(), "a changed prompt has as many tokens"
        assert [task.held_against(one) for one in others] == alike, "a changed prompt is held against the same"
        for attribute, labels in found.attributes.items() if name else ():
            same = labels == rows.attributes[attribute]
            assert (~same if attribute == name else same).all(), "one attribute is changed, and no other"


def _often_active(index: FeatureIndex, min_active: int, n: int) -> list[int]:
    often = np.flatnonzero(index.table["train_n_active"] >= min_active)
    latents = often[:: max(1, len(often) // n)][:n].tolist()
    assert latents, "an index with latents that are active often enough to be explained"
    return latents


def _held(client: Client, talk: Talk[Told]) -> Told:
    """What comes of one talk."""
    ((_, told),) = hold(client, [(0, talk)], most_open=1)
    assert isinstance(told, Told), "a talk ends in `Told`"
    return told


def _check_told(told: Told) -> None:
    assert told.variant, "how something was asked is said"
    assert told.n_unanswered >= 0, "what was not answered is counted"
    if isinstance(told.found, Failure):
        assert told.found.reason, "a failure says why"


def _check_places(told: Told, held_out: HeldOut) -> None:
    """What was seen and judged stands in test documents, each place once."""
    assert isinstance(told.found, Scored)
    positions = [judgement.position for judgement in told.found.judgements]
    assert len(set(positions)) == len(positions), "each position is judged once"
    seen = {item.position for item in told.seen}
    assert seen | set(positions) <= set(held_out.tokens.positions.tolist()), "what is judged is test text"
    assert set(positions) <= seen, "what was judged was seen"


def _question(text: str, max_tokens: int, **more: Any) -> Request:
    return Request(messages=(Message("user", text),), max_tokens=max_tokens, purpose="check", **more)


def _asked(client: Client, requests: Sequence[Request]) -> list[Answer | Failure]:
    """What comes of questions that are asked at once, each as it should be."""
    found = [future.result() for future in [client.submit(request) for request in requests]]
    for request, one in zip(requests, found, strict=True):
        assert isinstance(one, Answer | Failure), "what goes wrong with a question is a failure in place of its answer"
        if isinstance(one, Failure):
            assert one.reason, "a failure says why"
            continue
        assert len(one.others) == request.n - 1, "as many answers come as were wanted"
        assert min(one.n_prompt_tokens, one.n_answer_tokens) >= 0, "tokens are counted, or 0"
        for token in one.tokens:
            logprobs = [logprob for _, logprob in token.alternatives]
            assert all(logprob <= 0 for logprob in (token.logprob, *logprobs)), "log-probabilities are at most 0"
            assert logprobs == sorted(logprobs, reverse=True), "the likeliest alternative comes first"
    return found


def _check_forms(client: Client, can: Capabilities, max_tokens: int) -> None:
    properties = {"said": {"type": "string"}}
    form = {"type": "object", "properties": properties, "required": ["said"], "additionalProperties": False}
    (answer,) = _asked(client, [_question("Say hello.", 8 * max_tokens, form=form)])
    if can.schema_answers and isinstance(answer, Answer) and not answer.cut:
        assert set(json.loads(answer.text)) == {"said"}, "`schema_answers`: an answer keeps to its schema"


def _check_votes(client: Client, can: Capabilities) -> None:
    wanted: list[dict[str, Any]] = [{"choices": ("Yes", "No")}, {"top_logprobs": 2}]
    voted, told = _asked(client, [_question("Yes or no?", 1, **more) for more in wanted])
    if can.choices:
        assert isinstance(voted, Answer) and len(voted.tokens) == 1, "`choices`: one token tells of all of them"
        assert {text for text, _ in voted.tokens[0].alternatives} == {"Yes", "No"}, "all choices are its alternatives"
        assert voted.text == voted.tokens[0].alternatives[0][0], "the answer is the likeliest choice"
    if can.logprobs:
        assert isinstance(told, Answer) and told.tokens, "`logprobs`: tokens of an answer are told"
        assert all(len(token.alternatives) == 2 for token in told.tokens), "with as many alternatives as were wanted"


def _check_draws(client: Client, max_tokens: int) -> None:
    drawn = _question("Say a word.", max_tokens, temperature=1.0, seed=3, n=3)
    (first,), (again,) = _asked(client, [drawn]), _asked(client, [drawn])
    assert isinstance(first, Answer), "several answers are drawn, by every client"
    assert first == again, "what was drawn for a question is its answer"


def _check_continuations(client: Client, can: Capabilities) -> None:
    """The probability of a text is the product of those of its parts, each behind what stands before it."""
    a, b, c = "one two", " three four", " five six seven"
    parts = [_question(before, 1, continuation=behind) for before, behind in ((a, b + c), (a, b), (a + b, c))]
    found = _asked(client, parts)
    if not can.continuations:
        assert all(isinstance(one, Failure) for one in found), "a text that cannot be read on is a failure"
        return
    sums = []
    for request, one in zip(parts, found, strict=True):
        assert isinstance(one, Answer) and one.text == request.continuation, "`continuations`: a given text is read"
        spelled = "".join(token.text for token in one.tokens)
        assert spelled == request.continuation, "its tokens are those of the text, and of nothing before it"
        sums.append(sum(token.logprob for token in one.tokens))
    close = math.isclose(sums[0], sums[1] + sums[2], rel_tol=0.01, abs_tol=0.05)
    assert close, "log-probabilities of parts add up to that of the whole"


def _check_plain(client: Client, can: Capabilities, max_tokens: int) -> None:
    """Plain text is written on up to the sign at which the answer ends."""
    (said,) = _asked(client, [_question("one two\none two\none", max_tokens, plain=True, stop="\n")])
    if can.plain:
        assert isinstance(said, Answer) and "\n" not in said.text, "`plain`: an answer ends where it is to"
    else:
        assert isinstance(said, Failure), "plain text that cannot be written on is a failure"


def _check_explanation(found: Explanation | Failure, latent: int, name: str) -> None:
    assert isinstance(found, Explanation | Failure), "`explain` gives an Explanation or a Failure"
    if isinstance(found, Failure):
        assert found.reason, "a failure says why"
        return
    assert (found.latent, found.explainer) == (latent, name), "an explanation names its latent and its explainer"
    assert found.status != "failed", "what failed is given as a Failure"
    assert found.text and found.title, "there are words, or the reason for an abstention, and a title"
    assert json.loads(json.dumps(found.predictor)) == found.predictor, "the predictor is JSON"


def _check_scores(scores: list[Score], definitions: dict[str, str]) -> None:
    metrics = [score.metric for score in scores]
    assert len(set(metrics)) == len(metrics) and set(metrics) <= set(definitions), "each defined metric at most once"
    for score in scores:
        ends = [end for end in (score.ci_low, score.ci_high) if end is not None]
        assert all(map(math.isfinite, [*ends, score.value, score.null or 0.0])), "what cannot be formed is left out"
        assert score.n > 0, "a score says over how many observations it is"
        assert ends == sorted(ends), "an interval goes from low to high"


def _check_judgements(judgements: list[Judgement], held_out: HeldOut, latent: int) -> None:
    tokens, column = held_out.tokens, held_out.column(latent)
    activations = dict(zip(tokens.positions[column.ranks].tolist(), column.values.tolist(), strict=True))
    positions = [judgement.position for judgement in judgements]
    assert len(set(positions)) == len(positions), "each position is judged once"
    assert set(positions) <= set(tokens.positions.tolist()), "judged positions are counted test tokens"
    for judgement in judgements:
        assert judgement.expected == activations.get(judgement.position, 0.0), "`expected` is the activation, by size"
        assert judgement.said is None or math.isfinite(judgement.said), "`said` is a number, or None without an answer"


def _close(found: torch.Tensor, expected: torch.Tensor, promise: str) -> None:
    torch.testing.assert_close(
        found, expected, rtol=1e-4, atol=1e-5, msg=lambda text: f"broken promise: {promise}\n{text}"
    )
