"""The recipe of "Towards Monosemanticity": its plan, and that it goes on where it was."""

import pytest

from sparselex.atlas.analyses import ANALYSES
from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.evaluate.monosemanticity.claims import CLAIMS
from sparselex.evaluate.monosemanticity.found import replication_of
from sparselex.recipes.folder import RunFolder
from sparselex.recipes.monosemanticity.config import QUICK, MonosemanticityConfig
from sparselex.recipes.monosemanticity.plan import ROLES, run_config, steps
from sparselex.recipes.monosemanticity.walk import take_steps
from sparselex.recipes.stages import STAGES
from sparselex.server.answering import PAGES
from tests.support.command import done, sparselex

TINY = MonosemanticityConfig(
    n_tokens=30_000,
    index_rows=100,
    train_tokens=(3000, 3000, 3000),
    expansions=(0.125, 0.25, 0.5),
    sweep_tokens=3000,
    n_pinned=2,
)


def test_every_step_is_a_stage_with_options_that_it_has(tmp_path):
    workspace = Workspace.create(tmp_path / "w")
    for config in (MonosemanticityConfig(), MonosemanticityConfig(**QUICK)):
        for step in steps(config):
            stage = RunFolder.create(workspace, step.run, run_config(config, step.run)).stage(step.verb, **step.options)
            assert stage.verb == step.verb and step.cost > 0


def test_all_widths_of_both_models_are_trained_by_the_paper_and_every_analysis_is_taken():
    taken = {(step.run, step.verb): step.options for step in steps(MonosemanticityConfig())}
    for runs, seed in ((ROLES.of_a, 0), (ROLES.of_b, 1)):
        for run, expansion in zip(runs, (1.0, 8.0, 32.0), strict=True):
            options = taken[run, "train"]
            assert options["recipe"] == "2023" and options["expansion"] == expansion and options["seed"] == seed
            assert options["l1"] == MonosemanticityConfig().l1 and (run, "index") in taken
    assert {f"analyse {name}" for name in ANALYSES} <= {verb for run, verb in taken if run == ROLES.main}
    assert taken[ROLES.main, "controls"]["kinds"] == ["neurons", "permuted"]
    assert {verb for _, verb in taken} <= set(STAGES.names())


def test_figures_and_pages_of_claims_are_of_what_the_recipe_makes():
    paths = {PAGES.get(name).path for name in PAGES.names()}
    for claim in CLAIMS:
        assert {row.role for row in claim.rows} | {role for role, _ in claim.pages} <= set(ROLES.to_json())
        assert {f"/runs/{{run}}/{page}".rstrip("/") for _, page in claim.pages} <= paths, claim.name


def test_widths_must_rise_and_a_first_look_says_what_it_lacks():
    with pytest.raises(UserError, match="do not rise"):
        MonosemanticityConfig.parse({"expansions": (8, 1, 32)}, "the options")
    assert MonosemanticityConfig().shortened == []
    quick = MonosemanticityConfig(**QUICK).shortened
    assert len(quick) == len(QUICK) and "--tokens 500,000 instead of 5,500,000" in quick


def test_stopped_between_two_steps_it_goes_on_and_what_fails_is_left_out(tmp_path):
    workspace, said = Workspace.create(tmp_path / "w"), list[str]()
    every = steps(TINY)
    first = [step for step in every if (step.run, step.verb) in ((ROLES.main, "train"), (ROLES.main, "index"))]
    fails = next(step for step in every if step.verb == "analyse splitting")

    def stops(words: str) -> None:
        said.append(words)
        if words.startswith("[2/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take_steps(workspace, TINY, first, say=stops)
    trained = RunFolder.open(workspace, ROLES.main).manifest("dictionary")
    assert trained.config["dictionary"]["d_sae"] == 128 and "left with all that follows" in said[0]
    said.clear()
    left_out = take_steps(workspace, TINY, [*first, fails], say=said.append)
    assert said[0] == f"[1/3] {ROLES.main}: train is done already"
    assert RunFolder.open(workspace, ROLES.main).manifest("dictionary") == trained
    assert list(left_out) == [f"{ROLES.main}: analyse splitting"] and "left out" in said[-1]
    assert replication_of(workspace) is None  # that is of the whole


def test_an_unknown_option_is_told_and_the_help_names_the_first_look(tmp_path):
    told = sparselex("recipe", "monosemanticity", tmp_path / "w", "--expansions", "8")
    assert told.code == 2 and "--expansions" in told.err and not (tmp_path / "w").exists()
    assert "--quick" in done("recipe", "monosemanticity", "--help").out
    assert "sparselex recipe monosemanticity WORKSPACE" in done("recipe").out


@pytest.mark.slow
def test_the_whole_of_it_on_little_text(tmp_path):
    size = [word for pair in _flags(TINY) for word in pair]
    made = done("recipe", "monosemanticity", tmp_path / "w", *size, "--json").json
    assert [one["name"] for one in made["claims"]] == [one.name for one in CLAIMS]
    assert sum(one["reproduced"] != "open" for one in made["claims"]) > len(CLAIMS) / 2
    assert [row["words"] for one in made["claims"] for row in one["rows"] if row["figure"] is None] == []
    report = (tmp_path / "w" / "monosemanticity.html").read_text()
    assert all(f'id="{one.name}"' in report for one in CLAIMS)


def _flags(config: MonosemanticityConfig) -> list[tuple[str, str]]:
    many = [("--expansions", str(one)) for one in config.expansions] + [
        ("--train-tokens", str(one)) for one in config.train_tokens
    ]
    return [
        *many,
        ("--tokens", str(config.n_tokens)),
        ("--sweep-tokens", str(config.sweep_tokens)),
        ("--n-pinned", "2"),
    ]
