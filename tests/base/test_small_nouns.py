"""Config, records, registry, workspace, seeds, vocabulary."""

import json
import re
from pathlib import Path

import pytest
from pydantic import PositiveInt, ValidationError, model_validator

import sparselex
from sparselex.base.config import Config
from sparselex.base.errors import UserError, a
from sparselex.base.figures import Figure, Figures
from sparselex.base.registry import Registry
from sparselex.base.seeds import derive
from sparselex.base.vocabulary import Vocabulary
from sparselex.base.workspace import Workspace
from sparselex.evaluate.records import DensityHistogram, Evaluation


class Toy(Config):
    width: PositiveInt
    """Width."""

    name: str = "toy"
    """Name."""


def test_config_reads_back_what_it_wrote(tmp_path):
    toy = Toy(width=3)
    (tmp_path / "toy.json").write_text(json.dumps(toy.to_json()))
    assert Toy.from_file(tmp_path / "toy.json") == toy


def test_config_is_frozen():
    with pytest.raises(ValidationError):
        Toy(width=3).width = 4  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"widht": 3}', "did you mean 'width'"),
        ('{"width": 0}', "greater than 0"),
        ('{"width": "wide"}', "valid integer"),
        ("{", "cannot be read"),
        ("[1]", "valid dictionary"),
    ],
)
def test_config_errors_teach(tmp_path, text, words):
    (tmp_path / "toy.json").write_text(text)
    with pytest.raises(UserError, match=words):
        Toy.from_file(tmp_path / "toy.json")


class Pair(Toy):
    low: int = 0
    """The lower end."""

    high: int = 1
    """The upper end."""

    @model_validator(mode="after")
    def _ordered(self):
        if self.low > self.high:
            raise ValueError("low is above high; lower it")
        return self


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "x: --wide is missing.\n  expected: --wide: Width\n  to do: give --wide INTEGER."),
        (
            {"width": 3, "low": "no"},
            "x: low: Input should be a valid integer, unable to parse string as an integer (given: 'no').\n"
            "  expected: low: The lower end\n  to do: correct the values named above.",
        ),
        (
            {"width": 3, "low": 2},
            "x: low is above high; lower it.\n  expected: values that go together\n"
            "  to do: correct the values named above.",
        ),
    ],
)
def test_a_config_tells_of_what_is_wrong_and_not_of_all_it_has(values, message):
    with pytest.raises(UserError) as told:
        Pair.parse(values, "x", names={"width": "--wide"})
    assert str(told.value) == message


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path):
    with pytest.raises(UserError, match=r"toy\.json does not exist(?s:.*)a JSON file with the fields of Toy"):
        Toy.from_file(tmp_path / "toy.json")
    for kind in (Figures, DensityHistogram, Evaluation):
        with pytest.raises(
            UserError, match=r"holds no sparselex artifact(?s:.*)one with a file (figures|density)\.json"
        ):
            kind.read(tmp_path)


def test_a_part_of_a_configuration_is_one_of_its_own():
    class Both(Toy):
        depth: int = 2
        """Depth."""

    assert Both(width=3, depth=4).part(Toy) == Toy(width=3)


def test_every_field_of_a_config_carries_its_docstring():
    assert Toy.model_fields["width"].description == "Width."


def test_a_figure_is_a_value_or_a_failure():
    Figure(name="core/fvu", value=0.1, definition="x")
    Figure(name="core/fvu", failure="no tokens", definition="x")
    for impossible in ({}, {"value": 0.1, "failure": "no tokens"}):
        with pytest.raises(ValidationError, match="never"):
            Figure(name="core/fvu", definition="x", **impossible)


def test_registry_names_the_nearest():
    registry = Registry("scorer", {"detection": 1, "fuzzing": 2})
    assert registry.get("fuzzing") == 2 and registry.names() == ["detection", "fuzzing"]
    with pytest.raises(UserError, match="did you mean fuzzing"):
        registry.get("fuzing")


def test_workspace_opens_only_a_workspace(tmp_path):
    with pytest.raises(UserError, match="no sparselex workspace"):
        Workspace(tmp_path)
    Workspace.create(tmp_path / "w")
    assert Workspace(tmp_path / "w").runs() == []
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(UserError, match="choose another folder"):
        Workspace.create(tmp_path / "full")


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", ".hidden", "a b", "x" * 65])
def test_run_names_stay_inside_the_workspace(tmp_path, name):
    with pytest.raises(UserError, match="cannot be the name of a run"):
        Workspace.create(tmp_path / "w").run(name)


def test_seeds_differ_by_purpose():
    assert len({derive(0, "a"), derive(1, "a"), derive(0, "b"), derive(0, "a", 1), derive(0, "a1")}) == 5


def test_vocabulary_survives_the_disk(tmp_path):
    vocabulary = Vocabulary([b"<s>", b"", "é".encode(), b"\xc3", b"\n"], [0])
    vocabulary.save(tmp_path)
    loaded = Vocabulary.load(tmp_path.joinpath)
    assert [loaded.token_bytes(i) for i in range(5)] == [b"<s>", b"", "é".encode(), b"\xc3", b"\n"]
    assert loaded.special_ids == {0} and loaded.text(3) == "\\xc3" and loaded.decode([0, 2, 4]) == "é\n"


@pytest.mark.parametrize(
    ("word", "said"),
    [("int", "an int"), ("dict", "a dict"), ("index", "an index"), ("AbsTopK", "an AbsTopK"), ("uint8", "a uint8")],
)
def test_words_have_their_article(word, said):
    assert a(word) == said


def test_no_message_puts_an_article_before_a_word_that_it_does_not_know():
    """Else one of them is `a int`."""
    src = Path(sparselex.__file__).parent
    found = [str(path.relative_to(src)) for path in src.rglob("*.py") if re.search(r"\b[Aa]n? \{", path.read_text())]
    assert found == []
