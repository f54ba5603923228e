"""`sparselex evaluate ioi`, as a user types it."""

import json
import shutil

import pytest

from sparselex.base.errors import UserError
from sparselex.evaluate.supervised.records import TaskResult
from sparselex.recipes.run import Run
from sparselex.recipes.work.tasks import _of_run
from tests.support.command import done, sparselex
from tests.support.contents import contents
from tests.support.copier import write_copier

SMALL = (
    *("--n-fit", 400, "--n-test", 48, "--n-circuit", 32, "--kinds", "topk", "--l0s", 3, "--n-seeds", 1),
    *("--n-tokens", 20_000, "--n-general", 500, "--budgets", "1,2,8", "--shortlist", 20),
)
PLACE = ("--places", "blocks.0.hook_resid_post@end")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("copier")
    write_copier(folder)
    return folder


@pytest.fixture(scope="module")
def made(model, tmp_path_factory):
    workspace = tmp_path_factory.mktemp("task") / "w"
    return workspace, done("evaluate", "ioi", workspace, "--model", model, *SMALL, "--as", "mine")


def test_it_says_where_the_task_is_done_and_how_dictionaries_compare(made):
    workspace, ended = made
    assert "does the task ioi: the answer is the most likely token on 1.00 (0.89 to 1.00) of 32 prompts" in ended.out
    assert "blocks.0.attn.hook_z:1" in ended.out and "looks at S2" in ended.out
    assert "residual stream 0 at end" in ended.out and "frozen decoder" in ended.out
    assert f"everything is in {workspace}/tasks/mine" in ended.out.replace("\n", "")


def test_what_is_done_is_not_done_again_and_printed_as_json(made, model, monkeypatch):
    workspace, _ = made
    monkeypatch.setattr("sparselex.recipes.tasks._WORK", "nowhere:nothing")
    again = done("evaluate", "ioi", workspace, "--model", model, *SMALL, "--as", "mine", "--json")
    result = TaskResult.parse(again.json, "what was printed")
    assert result == TaskResult.read(workspace / "tasks" / "mine" / "summary")
    figures = json.loads((workspace / "tasks" / "mine" / "summary" / "figures.json").read_text())["figures"]
    assert len(figures) > 50 and all(one["definition"] for one in figures)


def test_another_model_takes_nothing_away(made, tmp_path):
    workspace, _ = made
    before = (workspace / "tasks" / "mine" / "summary" / "task.json").read_bytes()
    write_copier(other := tmp_path / "other")
    ended = sparselex("evaluate", "ioi", workspace, "--model", other, *SMALL, "--as", "mine")
    assert ended.code == 2 and "give another with --as" in ended.err
    assert (workspace / "tasks" / "mine" / "summary" / "task.json").read_bytes() == before
    ended = sparselex("evaluate", "ioi", workspace, "--model", other, *SMALL, "--as", "toy-model")
    assert ended.code == 2 and "holds the small transformer" in ended.err


def test_a_workspace_called_like_a_task_is_one_still(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "ioi is no sparselex workspace" in sparselex("evaluate", "./ioi").err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--places", "blocks.9.hook_resid_post@end"), "blocks.9"),
        (("--places", "blocks.0.hook_resid_post@middle"), "names the role 'middle'"),
        (("--n-test", "3"), "--n-test"),
        (("--kinds", "nothing"), "nothing"),
        (("--runs", "gone"), "has no run 'gone'"),
        (("--as", "../x"), "cannot be the name of a task's results"),
    ],
)
def test_nonsense_is_refused_and_leaves_nothing(model, tmp_path, options, said):
    ended = sparselex("evaluate", "ioi", tmp_path / "w", "--model", model, *SMALL, *options)
    assert ended.code == 2 and said in ended.err
    assert not (tmp_path / "w").exists() or not [*(tmp_path / "w").rglob("manifest.json")]


def _figures(workspace):
    return json.loads((workspace / "tasks" / "t" / "summary" / "figures.json").read_text())["figures"]


def test_the_same_place_of_other_prompts_is_trained_anew(model, tmp_path):
    for workspace, sizes in ((tmp_path / "one", (100, 400)), (tmp_path / "other", (400,))):
        for n_fit in sizes:
            done("evaluate", "ioi", workspace, "--model", model, *SMALL[2:], *PLACE, "--as", "t", "--n-fit", n_fit)
    assert _figures(tmp_path / "one") == _figures(tmp_path / "other")


def test_the_first_command_is_not_answered_with_what_another_left(model, tmp_path):
    to = tmp_path / "w"

    def given(l0):
        settings = [*SMALL]
        settings[settings.index("--l0s") + 1] = l0
        return ("evaluate", "ioi", to, "--model", model, *settings, *PLACE, "--as", "t", "--json")

    first, options = done(*given(3)).json, (to / "tasks" / "t" / "options.json").read_bytes()
    second = done(*given(2)).json
    (to / "tasks" / "t" / "options.json").write_bytes(options)  # as if it had been stopped before its end
    assert second != first and done(*given(3)).json == first
    (to / "tasks" / "t" / "options.json").write_text('{"x": 1}')
    ended = sparselex(*given(3))
    assert ended.code == 2 and "holds a task by a model, and ioi by" in ended.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--general-text", "/not/there"), "/not/there"),
        (("--general-text", ""), "--general-text"),
        (("--l0s", 1000, "--most-latents", 8), "k"),
        (("--kinds", "clt"), "clt"),
        (("--places", "module:transformer.h.0@end+module:transformer.ln_f@end"), "edited together"),
    ],
)
def test_what_is_refused_takes_nothing_away(made, model, tmp_path, options, said):
    copy = tmp_path / "w"
    shutil.copytree(made[0], copy)
    before = contents(copy / "tasks" / "mine")
    given = dict(zip(SMALL[::2], SMALL[1::2], strict=True)) | dict(zip(options[::2], options[1::2], strict=True))
    flags = [part for pair in given.items() for part in pair]
    ended = sparselex("evaluate", "ioi", copy, "--model", model, *flags, "--as", "mine")
    assert ended.code == 2 and said in ended.err, ended.err
    assert contents(copy / "tasks" / "mine") == before


def test_ten_places_are_edited_together(model, tmp_path):
    sites = ("attn.hook_v:0", "attn.hook_v:1", "hook_resid_post")
    nodes = [f"blocks.0.{site}@{role}" for site in sites for role in ("IO", "S1", "S2", "end")][:10]
    ended = sparselex("evaluate", "ioi", tmp_path / "w", "--model", model, *SMALL, "--places", "+".join(nodes))
    assert ended.code == 0, ended.err


def test_a_model_without_the_words_and_a_run_of_another_model_are_refused(small_workspace, model, tmp_path):
    ended = sparselex("evaluate", "ioi", tmp_path / "w", "--model", "embedded")
    assert ended.code == 2 and "names this tokenizer has" in ended.err and not (tmp_path / "w").exists()
    copy = tmp_path / "copy"
    shutil.copytree(small_workspace.path, copy)
    ended = sparselex("evaluate", "ioi", copy, "--model", model, *SMALL, *PLACE, "--runs", "main")
    assert ended.code == 2 and "Run 'main' is of " in ended.err and "the model that does the task" in ended.err


def test_prompts_and_texts_of_runs_begin_alike(small_workspace, tmp_path):
    run = Run.open(small_workspace, "main")
    assert _of_run(run, run.model, "auto").name == "main"
    with pytest.raises(UserError, match="were made with bos 'auto', prompts with 'never'") as caught:
        _of_run(run, run.model, "never")
    assert "--bos auto" in str(caught.value)


def test_a_task_without_a_model_of_its_own_says_so(tmp_path):
    ended = sparselex("evaluate", "task", tmp_path / "w", "--task", "nothing")
    assert ended.code == 2 and "nothing" in ended.err and not (tmp_path / "w").exists()
