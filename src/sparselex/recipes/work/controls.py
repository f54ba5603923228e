"""Hold a run's explanations against those of its controls: each control a run of its own, indexed, explained and scored
as the run was."""

from collections.abc import Iterator, Mapping
from typing import Any

from sparselex.base.errors import UserError
from sparselex.base.staging import stage as staged
from sparselex.evaluate.against import Against, AgainstControls, Control, Explained
from sparselex.evaluate.graded import Graded, Grader, against, explained_shares, l0_of, measured
from sparselex.evaluate.report import write_report
from sparselex.explain.asking.config import AskConfig
from sparselex.explain.asking.registry import JUDGES
from sparselex.explain.config import ExplainConfig
from sparselex.explain.registry import SCORERS
from sparselex.explain.store import ExplanationStore
from sparselex.recipes.control_runs import CONTROL_RUNS, ControlConfig, control_named
from sparselex.recipes.run import Run
from sparselex.recipes.stages.ask import Ask
from sparselex.recipes.stages.controls import Controls, made_of
from sparselex.recipes.stages.explain import Explain
from sparselex.recipes.work.control_runs import NO_RECIPE, Say, directions_run, trained_run

_INDEX = "index"


def controls_run(run: Run, stage: Controls, *, say: Say = lambda words: None) -> None:
    """Make each control, as far as it is not there, and compare; a report that is there takes it up. Killed, it goes on
    where it was. Raises `UserError` for a run without explanations, for options of `--llm` by which the run was not
    explained, and where a run stands in the place of a control."""
    stage.check_explained(run)
    run.index.check_whole("controls at the same number of active latents")
    asked = _asked(run, stage)
    controls, missing = {}, _not_asked(run, stage)
    for kind in stage.kinds:
        if CONTROL_RUNS.get(kind).recipe is not None and "train" not in run.config.stages:
            missing[kind] = NO_RECIPE
            continue
        say(f"{kind}: run {control_named(run, kind)!r}")
        controls[kind] = control = _made(run, kind, stage, say)
        _graded_as(run, control, asked, stage)
    _compare(run, stage, controls, missing, asked is not None)
    run.keep_options(stage)
    if run.workspace.report.exists():
        write_report(run.workspace)


def _made(run: Run, kind: str, stage: Controls, say: Say) -> Run:
    """One control, before it is indexed."""
    name, recipe = control_named(run, kind), CONTROL_RUNS.get(kind).recipe
    if recipe is not None:
        return trained_run(run, name, recipe(run.config, run.name), replace=stage.anew, say=say)
    k = max(1, round(l0_of(run.index)))
    wanted = ControlConfig(kind=kind, of=run.name, k=k, d_sae=run.index.d_sae, seed=stage.seed)
    return directions_run(run, name, wanted, replace=stage.anew)


def _graded_as(run: Run, control: Run, asked: Mapping[str, Any] | None, stage: Controls) -> None:
    """Index, explain and score a control with the options that the run was indexed, explained and scored with."""
    for verb, makes in ((_INDEX, _INDEX), (Explain.verb, Explain.makes)):
        if run.has(makes):
            control.do(verb, replace=stage.anew, **run.stage(verb).kept())
    if asked is not None:
        control.do(Ask.verb, replace=stage.anew, **asked, **stage.ask_passing)


def _asked(run: Run, stage: Controls) -> dict[str, Any] | None:
    """The options by which a language model is to explain the controls; None where it is not to. Raises `UserError`
    where the run itself was explained otherwise."""
    if not stage.ask:
        return None
    if not run.has(Ask.makes):
        raise UserError(
            f"Run {run.name!r} has no explanations by a language model.",
            "a run that is explained in the way in which its controls are to be",
            f"run `sparselex explain {run.workspace.typed} --run {run.name}` with these options of --llm first.",
        )
    kept, given = run.stage(Ask.verb).kept(), Ask.parse(stage.ask, "the options of explain --llm").kept()
    # Another address of the same model is no other way to explain.
    other = [name for name in stage.ask if name != "llm" and given[name] != kept[name]]
    if other:
        raise UserError(
            f"Run {run.name!r} was explained with {', '.join(f'{name}={kept[name]!r}' for name in other)}, and its "
            f"controls were to be with {', '.join(f'{name}={stage.ask[name]!r}' for name in other)}.",
            "the same options for both, else the scores are of two things",
            f"leave {' and '.join(other)} out: what is left out is as it was for the run.",
        )
    return kept | {"llm": stage.ask.get("llm", kept["llm"])}


def _not_asked(run: Run, stage: Controls) -> dict[str, str]:
    if not run.has(Ask.makes) or stage.ask:
        return {}
    todo = f"sparselex controls {run.workspace.typed} --run {run.name} --llm URL --llm-model NAME"
    return {"explanations by a language model": f"those of the controls were not asked for: `{todo}`"}


def _compare(run: Run, stage: Controls, controls: Mapping[str, Run], missing: dict[str, str], with_asked: bool) -> None:
    artifacts = run.workspace.artifacts(run.name)
    used = [_INDEX, *(one for one in (Explain.makes, Ask.makes) if one in artifacts)]
    inputs = {name: artifacts[name].id for name in used}
    for control in controls.values():
        inputs |= made_of(run.workspace, control.name)
    with staged(run.folder / Controls.makes, Controls.makes, stage, inputs) as staging:
        if staging.made:
            return
        found = _compared(run, controls, missing, list(_graders(run, with_asked)))
        found.write(staging.folder)
        staging.finish({"n_controls": len(found.controls), "missing": found.missing})


def _compared(run: Run, controls: Mapping[str, Run], missing: dict[str, str], graders: list[Grader]) -> AgainstControls:
    store = ExplanationStore(run.workspace.database)
    explainers = dict.fromkeys(grader.explainer for grader in graders)
    shares: list[Explained] = []
    rows: list[Against] = []
    for explainer in explainers:
        mine = Graded(run.name, run.index, store, explainer)
        own = [grader for grader in graders if grader.explainer == explainer]
        for kind, control in controls.items():
            theirs = Graded(control.name, control.index, store, explainer)
            shares.append(explained_shares(kind, explainer, mine, theirs))
            rows += against(kind, mine, theirs, own)
    return AgainstControls(
        run=measured(run.name, run.index),
        controls={
            kind: Control(words=CONTROL_RUNS.get(kind).words, **dict(measured(control.name, control.index)))
            for kind, control in controls.items()
        },
        explained=shares,
        rows=sorted(rows, key=lambda row: not row.headline),
        missing=missing,
    )


def _graders(run: Run, with_asked: bool) -> Iterator[Grader]:
    """Everyone who has scored the run's explanations, as its artifacts say."""
    if run.has(Explain.makes):
        config = ExplainConfig.parse(run.manifest(Explain.makes).config)
        for place, name in enumerate(config.scorers):
            yield Grader(config.explainer, name, SCORERS.get(name), place, config)
    if with_asked:
        asked = AskConfig.parse(run.manifest(Ask.makes).config)
        for place, name in enumerate(asked.judges):
            yield Grader(asked.writer, name, JUDGES.get(name), place, None)
