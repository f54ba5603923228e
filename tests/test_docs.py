"""Docs are checked like code: blocks run, every verb, option, figure and field stands written."""

import re
from pathlib import Path

import pytest

import sparselex
from sparselex.atlas.records import DIFF_CLASSES
from sparselex.base.figures import Figure
from sparselex.cli.main import app
from sparselex.evaluate.core import CORE
from sparselex.explain.scorers.exact import ExactScorer

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_run(page, tmp_path, monkeypatch, capsys):
    """The blocks of a page run in order, as one program, in an empty folder."""
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    if not blocks:
        pytest.skip(f"{page.name} has no Python block")
    monkeypatch.chdir(tmp_path)
    exec(compile("\n".join(blocks), str(page), "exec"), {"__name__": "docs"})
    assert capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_every_verb_is_documented():
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    for command in app.registered_commands:
        assert f"`sparselex {command.name}" in text


def test_every_command_in_the_docs_exists():
    verbs = {command.name for command in app.registered_commands}
    for page in PAGES:
        for verb in re.findall(r"^\$ sparselex (\w+)", page.read_text(encoding="utf-8"), re.M):
            assert verb in verbs, f"{page.name}: {verb}"


def test_every_figure_and_field_of_the_report_is_documented():
    text = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
    differences = [f"diff/{name}_share" for name in (*DIFF_CLASSES, "only_a_specific", "only_b_specific")]
    differences.append("diff/shared_cosine")
    for name in [*(f"core/{name}" for name in CORE), *differences, *ExactScorer.definitions, *Figure.model_fields]:
        assert f"`{name}`" in text, name


def test_every_public_name_exists():
    for name in sparselex.__all__:
        assert getattr(sparselex, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        sparselex.nonsense  # noqa: B018


def test_the_changelog_has_an_open_section():
    assert "(unreleased)" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
