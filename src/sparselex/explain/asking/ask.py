"""Have a language model explain latents and judge the explanations on held-out documents: the walk."""

import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, get_args

from sparselex.base.errors import UserError
from sparselex.base.figures import Failure, Figure, Figures
from sparselex.base.files import fingerprint
from sparselex.base.progress import Bar, progress
from sparselex.base.seeds import generator
from sparselex.base.staging import check_replaced, stage
from sparselex.explain.asking.choosing import Chooser, Chosen
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.drawn_latents import chosen
from sparselex.explain.asking.judges import detection
from sparselex.explain.asking.judging import VOTES, by_votes, question
from sparselex.explain.asking.known import Known, Trial, doubt
from sparselex.explain.asking.known_words import Words
from sparselex.explain.asking.metered import Spent, metered
from sparselex.explain.asking.parts import Part, judge_id
from sparselex.explain.asking.protocols import Judges, Told, Tries, Writes
from sparselex.explain.asking.registry import JUDGES, WRITERS
from sparselex.explain.asking.store import About, Asked, AskedStore, Seen
from sparselex.explain.asking.subject import Opens
from sparselex.explain.asking.summary import KIND, AskSummary
from sparselex.explain.asking.there import check_writer, writes
from sparselex.explain.asking.words import upper_first
from sparselex.explain.evidence import Evidence, HeldOut
from sparselex.explain.records import Explanation, Scored, Status
from sparselex.explain.store import ExplanationStore, Scoring
from sparselex.features.index import FeatureIndex
from sparselex.llm.records import Client, Talk
from sparselex.llm.talks import hold

CHUNK = 64
"""Latents that are explained before any of them is judged: each has its null from another of the same chunk."""

_OPEN = 256
"""Talks that are held at once: enough for any server, and their windows are small."""

_WRITTEN, _WRITTEN_AFTER_S = 16, 5.0
"""Results that are written together, or as many as came in these seconds."""

Key = tuple[int, str]
"""A latent, and who judges it; an empty name for the explanation itself."""

Came = tuple[Chosen, Spent]
"""What came of it, and what that cost."""


def ask(
    index: FeatureIndex,
    config: AskConfig,
    client: Client,
    database: Path | str,
    to: Path | str,
    *,
    inputs: Mapping[str, str],
    subject: Opens | None = None,
    labels: Mapping[int, str] | None = None,
    trusting: bool = False,
) -> AskSummary:
    """Have latents explained and their explanations judged, and write the figures of that to the artifact `to`: those
    of everybody whose explanations of this index were judged like this, now or before.

    Explanations and scores go into the database as they come; what is there under this configuration is kept, and what
    failed is asked again, so that a walk that was killed, or whose budget was spent, goes on. `inputs` names the id of
    the index; `subject` opens the model for those who look at what it does; a `trusting` walk scores whatever came of
    the judge's trial; `labels` are what people call latents. Raises `UserError` where nobody answers at all, for a
    writer that there is not, and where nothing comes of it and something was explained before, by another model or of
    other windows: what fails never takes the place of an explanation.
    """
    check_replaced(to, config)
    walk = Walk(index, config, client, database, subject, labels or {}, trusting)
    walk.run()
    walk.check_worth()
    figures, notes = walk.finish()
    answers = fingerprint([notes, *(figure.to_json() for figure in figures)])
    with stage(to, KIND, config, {**inputs, "answers": answers}) as made:
        if not made.made:
            Figures(figures=figures).write(made.folder)
            made.finish(notes)
    return AskSummary.of(to)


class Walk:
    """The latents of one index before one model, and what of them is in the store."""

    def __init__(
        self,
        index: FeatureIndex,
        config: AskConfig,
        client: Client,
        database: Path | str,
        subject: Opens | None,
        labels: Mapping[int, str],
        trusting: bool,
    ):
        self.index, self.config, self.client, self.trusting = index, config, client, trusting
        self.subject = subject
        self.store, self.asked = ExplanationStore(database), AskedStore(database)
        # Where nothing can be written nobody is asked.
        with self.store.database.writing():
            pass
        self.can, self.evidence = client.capabilities(), Evidence(index, config.seed)
        self.name = config.name
        check_writer(config, index.id, self.store, self.asked, labels)
        self.writer: Writes | None = None
        if writes(config):
            self.writer = WRITERS.get(config.writer)(self.evidence, config, subject)
        held_out = HeldOut(index, config.seed)
        self.judges: dict[str, Judges] = {
            name: JUDGES.get(name)(self.evidence, held_out, config, subject) for name in config.judges
        }
        self.config_id = config.writing_id(client.model) if self.writer else ""
        there = None if self.writer else {one.latent for one in self.store.all(index.id, self.name)}
        self.latents, self.known = chosen(index, config, there), dict[str, Figure]()
        self._doubts = dict[str, str]()
        """Of each way of judging that was tried why it is not to be believed; empty where it is."""
        self.about = About(
            explainer=self.name,
            explained=self.writer.explained if self.writer else "",
            model=client.model,
            latents=tuple(self.latents),
            writing_id=self.config_id,
            judging_id=config.judging_id(client.model),
            judges=dict.fromkeys(self.judges, ""),
        )
        """What is asked about, which the figures of later walks are made of."""
        self.lacking = {name: why for name, judge in self.judges.items() if (why := judge.lacks(self.can))}
        self.failed = dict[int, Explanation]()
        """Failures of latents that have an explanation of another configuration, which they do not take away."""
        self._judged = dict[int, str]()
        """The texts that judges were given, in whose place somebody else may put others meanwhile."""

    @cached_property
    def unfit(self) -> dict[str, str]:
        """Of each judge that scores nothing the reason: it lacks something, or is not to be believed."""
        found = dict(self.lacking)
        for name, judge in self.judges.items():
            if judge.known and name not in found and (why := self._unbelievable(judge.known)):
                found[name] = why
        return found

    def _unbelievable(self, kind: str) -> str:
        if not self.config.check or self.trusting:
            return ""
        return self._doubts.get(kind, "the judge was not tried to the end")

    def run(self) -> None:
        """Try the judge, then explain and judge chunk by chunk; while one is judged the next is explained."""
        if self.name not in {about.explainer for about in self.asked.about(self.index.id)}:
            self.asked.tell(self.index.id, self.about)  # from now on the name is taken
        for name, judge in self.judges.items():
            self.store.define(name, judge.definitions)
        if self.config.check:
            self._try()
        chunks = [self.latents[start : start + CHUNK] for start in range(0, len(self.latents), CHUNK)]
        n_judges = len(self.judges) - len(self.unfit)
        with progress("explain", len(self.latents) * (1 + n_judges), "steps") as bar:
            for before, ahead in pairwise([[], *chunks, []]):
                self._hold(chain(self._judging(before, bar), self._writing(ahead, bar)), bar)
                if self.client.stopped:
                    return

    def _try(self) -> None:
        """Have the judges tried, once for each way of judging; nothing is known of one that could not be tried to the
        end."""
        words = Words(self.evidence.validation, self.config)
        kinds = {judge.known: judge for name, judge in self.judges.items() if judge.known and name not in self.lacking}
        for kind, judge in kinds.items():
            trial, tried = self._trial(judge, words), dict[int, Any]()
            talks = trial.talks(self.can)
            with progress("try the judge", len(talks), "descriptions") as bar:
                for number, found in hold(self.client, enumerate(talks), most_open=_OPEN):
                    tried[number] = found
                    bar.advance(1)
            if len(tried) == len(talks):
                self.known[kind] = trial.figure([tried[number] for number in sorted(tried)])
                self._doubts[kind] = doubt(trial, self.known[kind])

    def _trial(self, judge: Judges, words: Words) -> Trial[Any]:
        """Of one way of judging: its own, or on windows with and without the words."""
        if isinstance(judge, Tries):
            return judge.trial_on(words)
        votes = by_votes(question(detection.VERSION, "check", {}, self.config), self.config)
        weigh = votes if judge.known == VOTES else judge.weigh  # type: ignore[attr-defined]
        return Known(words, judge.known, weigh, votes=judge.known == VOTES)

    def _hold(self, talks: Iterator[tuple[Key, Talk[Came]]], bar: Bar) -> None:
        waiting: list[tuple[Key, Came]] = []
        wrote = time.monotonic()
        for found in hold(self.client, talks, most_open=_OPEN):
            waiting.append(found)
            bar.advance(1)
            if len(waiting) >= _WRITTEN or time.monotonic() - wrote > _WRITTEN_AFTER_S:
                self._write(waiting)
                waiting, wrote = [], time.monotonic()
        self._write(waiting)

    def _writing(self, latents: Sequence[int], bar: Bar) -> Iterator[tuple[Key, Talk[Came]]]:
        """Talks for the explanations that are not there yet."""
        there = self._explained()
        new = [latent for latent in latents if latent not in there] if self.writer else []
        bar.spare(len(latents) - len(new))
        for latent in new:
            yield (latent, ""), metered(self._written(latent))

    def _judging(self, latents: Sequence[int], bar: Bar) -> Iterator[tuple[Key, Talk[Came]]]:
        """Talks for the scores that are not there yet, of a chunk that is explained."""
        there = self._explained()
        others = self.others([latent for latent in latents if latent in there])
        own = self._part(self.about)
        for name, judge in self.judges.items():
            if name in self.unfit:
                continue
            done = own.treated(name) - own.unscored(name)
            new = {latent: other for latent, other in others.items() if latent not in done}
            bar.spare(len(latents) - len(new))
            for latent, other in new.items():
                another = None if other is None else there[other].text
                self._judged[latent] = there[latent].text
                yield (latent, name), metered(_alone(judge.talk(there[latent], another, self.can)))

    def _written(self, latent: int) -> Talk[Chosen]:
        """An explanation, the best of several where these are wanted and there is somebody to choose."""
        assert self.writer, "somebody writes"
        if self.chooser:
            return (yield from self.chooser.talk(latent, self.can))
        return (yield from _alone(self.writer.talk(latent, self.can)))

    @cached_property
    def chooser(self) -> Chooser | None:
        """Who chooses; nobody where the first judge scores nothing."""
        if not self.writer or self.config.best_of == 1 or self.config.judges[0] in self.unfit:
            return None
        return Chooser(self.index, self.config, self.writer, self.subject)

    def others(self, explained: Sequence[int]) -> dict[int, int | None]:
        """By explained latent of a chunk another one, whose explanation makes its null; None for those that have
        none."""
        n, rng = len(explained), generator(self.config.seed, "null", *explained)
        by = int(rng.integers(1, n)) if n > 1 else 0
        with_null = set(rng.permutation(n)[: round(self.config.null_share * n)].tolist()) if by else set[int]()
        return {
            latent: explained[(place + by) % n] if place in with_null else None
            for place, latent in enumerate(explained)
        }

    def _explained(self) -> dict[int, Explanation]:
        """What is explained: under this configuration, where it is written, else by whomever it is."""
        own = set(self.latents)
        if self.writer:
            own &= self.store.statuses(self.index.id, self.name, self.config_id).keys()
        stored = self.store.all(self.index.id, self.name)
        return {one.latent: one for one in stored if one.latent in own and one.status == "explained"}

    def _write(self, found: Sequence[tuple[Key, Came]]) -> None:
        """Put results into the database: explanations, then scores, then how they were got."""
        new = [self._explanation(latent, came.told) for (latent, judge), (came, _) in found if not judge]
        self._keep_before(new)
        there = self._explained() if any(judge for (_, judge), _ in found) else {}
        stands = lambda latent: latent in there and there[latent].text == self._judged[latent]
        found = [one for one in found if (stands(one[0][0]) if one[0][1] else one[0][0] not in self.failed)]
        self.store.add(self.index.id, self.config_id, [one for one in new if one.latent not in self.failed])
        for name in self.judges:
            self._write_scores(name, {latent: came.told.found for (latent, by), (came, _) in found if by == name})
        rows = [self._row(key, came.told, spent) for key, (came, spent) in found]
        drawn = [one for _, (came, _) in found for one in came.candidates]
        candidates = [one.model_copy(update={"explainer": self.name}) for one in drawn]
        if rows:
            self.asked.add(self.index.id, rows, self._seen(found), candidates)

    def _row(self, key: Key, told: Told, spent: Spent) -> Asked:
        latent, judge = key
        return Asked(
            latent=latent,
            explainer=self.name,
            judge=judge,
            model=self.client.model,
            **{"variant": told.variant, "n_unanswered": told.n_unanswered, **spent._asdict()},
        )

    def _write_scores(self, name: str, found: Mapping[int, Explanation | Scored | Failure]) -> None:
        """Scores by one judge; those of explanations that are there already come behind the scores that these have."""
        if not (scored := {latent: one for latent, one in found.items() if isinstance(one, Scored | Failure)}):
            return
        place = list(self.judges).index(name) + len(self._others)
        scoring = Scoring(name, self.judges[name].headline, place, self.about.judging_id)
        ids = {latent: judge_id(scoring.config_id, name, self._judged[latent]) for latent in scored}
        self.store.add_scored(self.index.id, self.name, scoring, scored, ids)

    @cached_property
    def _others(self) -> list[str]:
        """Who else scored explanations that are there already."""
        scorers = [] if self.writer else self.store.scorers(self.index.id, self.name)
        return [name for name in scorers if name not in self.judges]

    def _keep_before(self, new: Sequence[Explanation]) -> None:
        """Note the failures that are not written: of latents with an explanation, by another model or of other windows,
        that was paid for. What fails is asked again by the next run anyway."""
        failed = {one.latent: one for one in new if one.status == "failed"}
        if failed:
            before = {one.latent for one in self.store.all(self.index.id, self.name) if one.status == "explained"}
            self.failed |= {latent: one for latent, one in failed.items() if latent in before}

    def _seen(self, found: Sequence[tuple[Key, Came]]) -> Iterator[Seen]:
        for (latent, judge), (came, _) in found:
            for item in came.told.seen:
                yield Seen(
                    latent=latent,
                    explainer=self.name,
                    judge=judge,
                    position=item.position,
                    kind=item.kind,
                    text=item.text,
                )

    def _explanation(self, latent: int, told: Told) -> Explanation:
        if isinstance(told.found, Explanation):
            return told.found.model_copy(update={"explainer": self.name})
        reason = told.found.reason if isinstance(told.found, Failure) else ""
        title = "could not be explained"
        return Explanation(latent=latent, explainer=self.name, status="failed", text=reason, title=title)

    def check_worth(self) -> None:
        """Raise `UserError` where nothing was explained, and there is what was explained before."""
        statuses = self.store.statuses(self.index.id, self.name, self.config_id).values()
        if self.writer and self.failed and "explained" not in statuses:
            first = f"{len(self.failed):,} latents failed, the first as {next(iter(self.failed.values())).text}"
            raise UserError(
                f"Nothing was explained by {self.client.model}: {first}",
                "explanations in place of those that are there",
                "check the model's name and the server; what was explained before stays as it was.",
            )

    def finish(self) -> tuple[list[Figure], dict[str, Any]]:
        """The figures of everybody who was judged in this index, of this walk's explainer first, and how much is
        there."""
        self.store.arrange(self.index.id, self.name, [*self._others, *self.config.judges])
        unfit = {} if self.client.stopped else self.unfit
        judges = {name: unfit.get(name, "") for name in self.judges}
        before = {one.explainer: one for one in self.asked.about(self.index.id)}.get(self.name)
        self.asked.tell(self.index.id, self.about.model_copy(update={"judges": judges}).after(before))
        parts = {about.explainer: self._part(about) for about in self.asked.about(self.index.id)}
        own = parts.pop(self.name)
        others = [figure for part in parts.values() if part.explanations for figure in part.figures()]
        return [*own.figures(), *self.known.values(), *others], self._notes(own)

    def _part(self, about: About) -> Part:
        failed = list(self.failed.values()) if about.explainer == self.name else []
        return Part(about, self.index.id, self.store, self.asked, failed)

    def _notes(self, own: Part) -> dict[str, Any]:
        explanations, rows = own.explanations, own.rows()
        wanted = set(self.latents)
        explained = {one.latent for one in explanations if one.status == "explained"} & wanted
        left = len(wanted - {one.latent for one in explanations})
        scoring = [name for name in self.judges if name not in self.unfit or self.client.stopped]
        n_left = max([left, *(left + len(explained - own.treated(name)) for name in scoring)])
        counts = {f"n_{status}": sum(one.status == status for one in explanations) for status in get_args(Status)}
        costs = ("n_requests", "n_prompt_tokens", "n_answer_tokens")
        return {
            **counts,
            **{name: sum(getattr(row, name) for row in rows) for name in costs},
            "model": self.client.model,
            "explainer": self.name,
            "written": self.writer is not None,
            "stopped": self.client.stopped or "",
            "unfit": self._said_of_unfit(),
            "n_left": n_left,
            "n_unscored": sum(len(own.unscored(name)) for name in scoring),
            "n_unanswered": sum(row.n_unanswered for row in rows if row.judge),
            "first_failure": own.first_failure(scoring),
            "n_dead": 0,
        }

    def _said_of_unfit(self) -> str:
        """Which judges scored nothing, and why, in words."""
        if not self.unfit or self.client.stopped:
            return ""
        by_reason: dict[str, list[str]] = {}
        for name, why in self.unfit.items():
            by_reason.setdefault(why, []).append(name)
        said = [f"nothing was scored by {' and '.join(names)}: {why}" for why, names in by_reason.items()]
        return upper_first("; ".join(said))


def _alone(talk: Talk[Told]) -> Talk[Chosen]:
    """What comes of a talk in which nothing is chosen."""
    return Chosen((yield from talk))
