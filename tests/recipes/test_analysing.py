"""All analyses of a run, one after the other: what it cannot have is left out and said."""

import shutil

import pytest

from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.cli.main import app
from sparselex.recipes.analysing import analyse


@pytest.fixture
def alone(small_workspace, tmp_path) -> Workspace:
    """A run that nothing can be held against."""
    shutil.copytree(small_workspace.path, tmp_path / "w")
    shutil.rmtree(tmp_path / "w" / "runs" / "twin")
    return Workspace(tmp_path / "w")


def test_what_a_run_cannot_have_is_left_out_with_the_reason(alone):
    said = list[str]()
    found = analyse(alone, only=("universality", "neurons", "splitting"), say=said.append)
    assert list(found.lines) == ["neurons"] and alone.has("main", "neurons")
    assert list(found.left_out) == ["universality", "splitting"] and all(found.left_out.values())
    assert sum("left out" in line for line in said) == 2


def test_where_nothing_is_left_the_reason_is_told(alone, capsys):
    with pytest.raises(UserError, match="Nothing is there with which"):
        analyse(alone, only=("universality",))
    with pytest.raises(UserError, match="no run 'gone'"):
        analyse(alone, "gone")


def test_the_command_says_how_many_and_where_they_are(alone, capsys):
    app(["analyse", str(alone.path), "--only", "neurons,splitting"], standalone_mode=False)
    printed = capsys.readouterr()
    assert "1 analysis, 1 left out" in printed.out and "/runs/main/analyses" in printed.out
    assert "left out" in printed.err
