"""A person's file put to a model that closes brackets: found from anywhere, done again when its contents change."""

import json

import numpy as np
import pytest

from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.evaluate.supervised.place import part_files
from sparselex.evaluate.supervised.records import TaskResult
from sparselex.lm.load import load_model
from sparselex.recipes.tasks import TaskOptions, evaluate_task
from sparselex.tasks.brackets import make_brackets
from tests.support.command import sparselex

FEW = {
    "n_circuit": 16,
    "places": ("blocks.0.attn.hook_z:1@end",),
    "kinds": ("topk",),
    "l0s": (4,),
    "n_tokens": 10_000,
    "n_seeds": 1,
    "budgets": (2,),
}


@pytest.fixture(scope="module")
def lines():
    """Prompts of `brackets` as a person's file has them, each with the other kind of its open bracket."""
    task, chance = make_brackets(load_model("embedded").tokenizer), np.random.default_rng(0)
    found = {}
    for filling in [one for part in ("fit", "evaluate") for one in task.fillings(60, part, chance)]:
        for one in (filling, task.changed(filling, "open", chance)):
            prompt = task.prompt(one)
            found[prompt.text] = {
                "text": prompt.text,
                "attributes": {"open": prompt.attributes["open"]},
                "roles": {"open": prompt.roles["open"]},
                "answer": prompt.answer,
                "other": prompt.other,
                "template": one["template"],
            }
    return list(found.values())


def write(path, lines):
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")


def parted(lines):
    """Every pair in one part, and one prompt to be tested that has no counterpart."""
    alone = lines[0] | {"text": f"if {lines[0]['text']}", "roles": {"open": [4, 5]}, "template": "of its own"}
    return [one | {"part": ("fit", "evaluate")[n % 4 // 2]} for n, one in enumerate(lines)] + [
        alone | {"part": "evaluate"}
    ]


@pytest.mark.slow
def test_a_file_is_put_to_a_model_and_again_when_it_changes(tmp_path, monkeypatch, lines):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "mine.jsonl", parted(lines))
    workspace = Workspace.create(tmp_path / "workspace")
    options = TaskOptions(task="mine.jsonl", model="embedded", **FEW)
    assert options.task == str(tmp_path / "mine.jsonl") and options.called == "mine-embedded"
    result = evaluate_task(workspace, options)
    (tested,) = result.tested
    assert result.circuit.skipped == {"prompts that have no counterpart in 'open'": 1}
    assert result.circuit.task == "mine" and tested.gates
    assert tested.unedited["open"].n + 1 == sum(one["part"] == "evaluate" for one in parted(lines))
    folder = workspace.path / "tasks" / "mine-embedded" / "circuit" / "manifest.json"
    before = folder.stat().st_mtime_ns
    assert evaluate_task(workspace, options) == result and folder.stat().st_mtime_ns == before
    write(tmp_path / "mine.jsonl", parted(lines[:-20]))
    again = evaluate_task(workspace, options)
    assert folder.stat().st_mtime_ns != before and again.tested[0].unedited["open"].n < tested.unedited["open"].n


def test_a_file_that_is_not_there_and_a_file_for_the_toy_are_refused(tmp_path, lines):
    workspace = Workspace.create(tmp_path / "workspace")
    with pytest.raises(UserError, match=r"The task's file .*none\.jsonl cannot be read: No such file"):
        evaluate_task(workspace, TaskOptions(task=str(tmp_path / "none.jsonl"), model="embedded"))
    write(tmp_path / "mine.jsonl", lines)
    with pytest.raises(UserError, match=r"has no small transformer of its own"):
        evaluate_task(workspace, TaskOptions(task=str(tmp_path / "mine.jsonl")))


def test_the_command_refuses_what_is_neither_a_task_nor_a_file(tmp_path):
    found = sparselex("evaluate", "task", tmp_path / "workspace", "--task", "bracket", "--model", "embedded")
    assert found.code == 2 and "did you mean brackets?" in found.err and "a file such as" in found.err


def put(tmp_path, lines, **options):
    write(tmp_path / "odd.jsonl", lines)
    given = {**FEW, "task": str(tmp_path / "odd.jsonl"), "model": "embedded", "general": (), **options}
    return evaluate_task(Workspace.create(tmp_path / "w"), TaskOptions(**given))


def named(lines, name):
    """The attribute of each line under another name."""
    return parted([one | {"attributes": {name: one["attributes"]["open"]}} for one in lines])


def test_attributes_may_be_called_what_they_are(tmp_path, lines):
    found = []
    for name in ("open", "tested", "to fit"):
        (tmp_path / name).mkdir()
        gates = put(tmp_path / name, named(lines, name)).tested[0].gates["supervised"]
        found.append([gate.value for gate in gates])
    assert found[1] == found[2] == found[0]
    assert len({*part_files(("name 1", "name-1", "tested", "to fit")).values()}) == 6


def test_names_that_are_kept_are_refused(tmp_path, lines):
    with pytest.raises(UserError, match="called 'mean'"):
        put(tmp_path, named(lines, "mean"))


def test_a_file_without_roles_and_one_with_too_long_a_prompt(tmp_path, lines):
    bare = [{name: value for name, value in one.items() if name != "roles"} for one in parted(lines)]
    assert put(tmp_path, bare).attention == []
    (tmp_path / "long").mkdir()
    longer = [one | {"text": f"if {'x + ' * 300}{one['text']}", "roles": {}} for one in parted(lines)]
    with pytest.raises(UserError, match="at most 256, as many as"):
        put(tmp_path / "long", longer)


def test_text_of_all_kinds_is_read_again_when_its_name_or_its_contents_change(tmp_path, lines):
    one, other = tmp_path / "one.txt", tmp_path / "other.txt"
    texts = [f"def f{n}(x): return x * {n}\n" * 40 for n in range(120)]
    one.write_text("\n\n".join(texts), encoding="utf-8")
    other.write_text("\n\n".join(texts[::-1]).replace("return", "yield"), encoding="utf-8")
    given = {"general": ("topk",), "n_general": 2_000}
    summary = tmp_path / "w" / "tasks" / "odd-embedded" / "summary"
    found = []
    for source in (one, other, one):
        found.append(put(tmp_path, parted(lines), **given, general_text=str(source)))
        assert TaskResult.read(summary) == found[-1]
    of_text = [next(row for row in result.tested[0].rows if row.name == "topk, general text") for result in found]
    assert of_text[0] == of_text[2] != of_text[1]
    one.write_text(other.read_text(encoding="utf-8"), encoding="utf-8")
    changed = put(tmp_path, parted(lines), **given, general_text=str(one))
    assert next(row for row in changed.tested[0].rows if row.name == "topk, general text") == of_text[1]
    assert TaskResult.read(summary) == changed
