"""A person's own file as a task: what it becomes, and what is said of one that cannot be used."""

import json
from itertools import product

import numpy as np
import pytest

from sparselex.base.errors import UserError
from sparselex.evaluate.supervised.config import TaskConfig
from sparselex.evaluate.supervised.pairs import drawn
from sparselex.tasks.counterparts import counterparts, divided
from sparselex.tasks.file_task import FileTask, read_task
from sparselex.tasks.files import lines_of
from sparselex.tasks.making import make_task
from sparselex.tasks.registry import is_task_file, settled_task
from sparselex.testing import check_task
from tests.support.whole_words import whole_words

NOUNS = ("dog", "cat", "horse", "bird", "cow", "lion", "bear", "fox")
PLACES = ("car", "tree", "house", "road")
FORMS = {"singular": (" is", " are"), "plural": (" are", " is")}


def record(noun, place, number, place_number, **more):
    subject, beside = noun + "s" * (number == "plural"), place + "s" * (place_number == "plural")
    text, (answer, other) = f"The {subject} near the {beside} now", FORMS[number]
    start = text.index(f" {beside} now")
    return {
        "text": text,
        "attributes": {"number": number, "beside": place_number},
        "roles": {"subject": [4, 4 + len(subject)], "beside": [start, start + 1 + len(beside)]},
        "answer": answer,
        "other": other,
    } | more


def records(**more):
    numbers = tuple(FORMS)
    return [record(*words, **more) for words in product(NOUNS, PLACES, numbers, numbers)]


@pytest.fixture(scope="module")
def tokenizer():
    words = [f" {word}{end}" for word in (*NOUNS, *PLACES) for end in ("", "s")]
    return whole_words([*words, "The near the now", " is are", " very old", "Now:"])


@pytest.fixture
def write(tmp_path):
    def written(lines):
        path = tmp_path / "mine.jsonl"
        path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n\n")
        return path

    return written


def refused(write, tokenizer, lines, said):
    with pytest.raises(UserError, match=said):
        read_task(write(lines), tokenizer)


def test_a_file_keeps_the_promises_of_a_task(write, tokenizer):
    task = read_task(write(records()), tokenizer)
    assert (task.name, task.attributes, task.roles) == ("mine", ("number", "beside"), ("subject", "beside", "end"))
    assert task.n_prompts == {"fit": 64, "evaluate": 64} and task.left_out == {}
    check_task(task, tokenizer, n_fit=64, n=64)


def test_families_of_counterparts_are_divided_whole(write, tokenizer):
    task = read_task(write(records()), tokenizer)
    words = {
        part: {tuple(task.lines[n].prompt.text.replace("s ", " ").split()[1::3][:2]) for n in numbers}
        for part, numbers in task.parts.items()
    }
    assert len(words["fit"]) == len(words["evaluate"]) == 16 and not words["fit"] & words["evaluate"]
    assert divided(task.lines) == divided(task.lines)


def test_the_nearest_counterpart_is_the_same_word_in_the_other_number(write, tokenizer):
    """Against a slow look at every pair: one other token, and the most characters in common."""
    lines, _ = lines_of(write(records()), tokenizer)
    found = counterparts(lines, range(len(lines)), "number")
    for number, others in found.items():
        line, (other,) = lines[number], others
        expected = line.prompt.text.split()
        expected[1] = expected[1][:-1] if expected[1].endswith("s") else expected[1] + "s"
        assert lines[other].prompt.text == " ".join(expected)


def test_what_is_changed_is_of_the_tested_part_and_never_fitted(write, tokenizer):
    task = read_task(write(records()), tokenizer)
    prompts = drawn(task, tokenizer, TaskConfig(n_fit=64, n_test=48))
    fitted = {task.prompt(one).text for one in prompts.fit.fillings}
    for others in (*prompts.changed.values(), *prompts.corrupted.values()):
        assert not fitted & {task.prompt(one).text for one in others.fillings}
    assert (prompts.corrupted["other"].answers != prompts.test.answers).all()
    assert (prompts.changed["number"].answers != prompts.test.answers).all()
    assert (prompts.changed["beside"].answers == prompts.test.answers).all()


def test_parts_that_lines_name_are_kept(write, tokenizer):
    lines = [one | {"part": "fit" if number < 72 else "evaluate"} for number, one in enumerate(records())]
    task = read_task(write(lines), tokenizer)
    assert task.parts["fit"] == list(range(72)) and task.parts["evaluate"] == list(range(72, 128))


def test_prompts_without_a_counterpart_are_counted_and_left_out(write, tokenizer):
    lines = [one | {"part": "fit" if number < 64 else "evaluate"} for number, one in enumerate(records())]
    alone = [one for number, one in enumerate(records(part="evaluate", template="other")) if number == 3]
    alone[0] = alone[0] | {"text": alone[0]["text"].removesuffix(" now") + " very old"}
    task = read_task(write([*lines, *alone]), tokenizer)
    assert task.left_out == {"prompts that have no counterpart in 'number'": 1}
    assert task.n_prompts == {"fit": 64, "evaluate": 64}
    check_task(task, tokenizer, n_fit=64, n=64)


def test_a_file_of_one_answer_in_a_template_cannot_be_corrupted(write, tokenizer):
    lines = [one | {"part": part, "answer": " is", "other": " are"} for part, one in parted(records())]
    refused(write, tokenizer, lines, "has 0 prompts to evaluate .64 left out: prompts of a template and length that")


def parted(lines):
    return [("fit" if number < 64 else "evaluate", one) for number, one in enumerate(lines)]


def test_another_content_is_another_task(write, tokenizer):
    first = read_task(write(records()), tokenizer)
    assert read_task(write(records()), tokenizer).id == first.id
    assert read_task(write(records()[::-1]), tokenizer).id != first.id


def test_names_and_files_are_told_apart(tmp_path, monkeypatch, write, tokenizer):
    monkeypatch.chdir(tmp_path)
    assert settled_task("ioi") == "ioi" and not is_task_file("ioi")
    assert settled_task("mine.jsonl") == str(tmp_path / "mine.jsonl")
    with pytest.raises(UserError, match=r"Unknown task 'io'\.\n  expected: one of .*, or a file such as mine.jsonl"):
        settled_task("io")
    write(records())
    assert isinstance(make_task("mine.jsonl", tokenizer), FileTask)


ONE = record("dog", "car", "singular", "plural")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "has no prompts"),
        (["{"], r"mine.jsonl, line 1 is no JSON"),
        (["[1]"], r"mine.jsonl, line 1: TaskRecord: Input should be a valid dictionary"),
        ([{name: value for name, value in ONE.items() if name != "answer"}], r"line 1: answer is missing\."),
        ([ONE | {"attributs": {}}], r"line 1: unknown key 'attributs'(.|\n)*did you mean 'attributes'"),
        ([ONE | {"of_part": "fit"}], r"line 1: unknown key 'of_part'(.|\n)*roles, part, template\n(.|\n)*'part'"),
        ([ONE | {"attributes": {}}], "line 1: attributes: Dictionary should have at least 1 item"),
        ([ONE | {"roles": {"subject": [4, 400]}}], r"The prompt '.*line 1' has the roles(.|\n)*between 0 and 25"),
        ([ONE | {"roles": {"subject": [4, 4]}}], r"line 1' has the roles(.|\n)*the end behind the start"),
        ([ONE | {"roles": {"end": [4, 7]}}], r"line 1 has the role 'end'"),
        ([ONE | {"roles": {" subject ": [4, 7]}}], r"line 1 has the role ' subject '"),
        ([ONE | {"attributes": {"": "x"}}], "line 1 has the attribute ''"),
        ([ONE | {"attributes": {"a" * 300: "x"}}], "a name of 1 to 60 characters"),
        ([ONE | {"answer": " is are"}], r"line 1 has the answer ' is are', which is 2 tokens of this model"),
        ([ONE | {"answer": ""}], r"line 1 has the answer '', which is 0 tokens"),
        ([ONE | {"answer": ONE["other"]}], r"line 1 holds ' are' against itself"),
        ([ONE, ONE], r"line 2 has the text of .*line 1"),
        ([ONE, ONE | {"text": "The dog", "roles": {}}], r"line 2 has the roles end, and .*line 1 beside, end, subject"),
        (
            [ONE, record("cat", "car", "plural", "plural") | {"attributes": {"n": "1"}}],
            r"line 2 has the attributes n,",
        ),
        ([ONE, record("cat", "car", "plural", "plural", part="fit")], "one has a part, and the other has none"),
        ([ONE, record("cat", "car", "singular", "plural")], "The attribute 'number' has one value in .*: 'singular'"),
        (records()[:4], "The 4 prompts of the task are all counterparts of each other"),
        (records()[:28], r"The task 'mine' has 1\d prompts to (fit|evaluate)\.\n  expected: at least 16"),
    ],
)
def test_what_cannot_be_used_is_refused(write, tokenizer, lines, said):
    refused(write, tokenizer, lines, said)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path, tokenizer):
    with pytest.raises(UserError, match=r"The task's file .*none\.jsonl cannot be read"):
        read_task(tmp_path / "none.jsonl", tokenizer)
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match=r"bytes\.jsonl cannot be read: 'utf-8'"):
        read_task(tmp_path / "bytes.jsonl", tokenizer)


def test_counterparts_of_another_length_are_none(write, tokenizer):
    lines = []
    for part, one in parted(records()):
        longer = one["attributes"]["number"] == "plural"
        lines.append(one | {"part": part, "text": one["text"] + " very old" * longer})
    refused(write, tokenizer, lines, r"none is left: 64 have counterparts in 'number' that are more or fewer tokens")


def test_a_value_that_is_never_fitted_is_refused(write, tokenizer):
    lines = [
        one | {"part": part, "attributes": {**one["attributes"], "noun": one["text"].split()[1].rstrip("s")}}
        for part, one in parted(records())
    ]
    refused(write, tokenizer, lines, r"The attribute 'noun' of the task 'mine' has the value '(bear|cow|fox|lion)'")


def test_more_prompts_than_there_are_are_refused(write, tokenizer):
    task = read_task(write(records()), tokenizer)
    with pytest.raises(UserError, match=r"The task 'mine' has 64 prompts to fit\.\n  expected: 65"):
        task.fillings(65, "fit", np.random.default_rng(0))
