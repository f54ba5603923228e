"""Docs are checked like code: blocks run, every verb, option, figure and field stands written, the site is built."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

import sparselex
from sparselex.atlas.records import DIFF_CLASSES
from sparselex.base.figures import Figure
from sparselex.cli.verbs import AFTER, BEFORE
from sparselex.evaluate.metrics import METRICS
from sparselex.evaluate.records import Report
from sparselex.explain.scorers.exact import ExactScorer
from sparselex.recipes.stages import STAGES

ROOT = Path(__file__).parent.parent
SRC = ROOT / "src" / "sparselex"
VERBS = (*BEFORE, *STAGES.names(), *AFTER)
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def stands(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def script(name: str):
    """A script of docs/ as a module."""
    spec = spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.slow
@pytest.mark.parametrize("page", list(filter(blocks, PAGES)), ids=name)
def test_python_blocks_run(page, tmp_path, monkeypatch, capsys):
    """The blocks of a page run in order, as one program, in an empty folder."""
    source, here = tmp_path / f"{page.stem}.py", tmp_path / "here"
    source.write_text("\n".join(blocks(page)), encoding="utf-8")  # where documentation of fields is read from
    here.mkdir()
    monkeypatch.chdir(here)
    exec(compile(source.read_text(encoding="utf-8"), str(source), "exec"), {"__name__": "docs"})
    assert capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_every_verb_is_documented():
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    for verb in VERBS:
        assert f"`sparselex {verb}" in text


def test_no_verb_has_two_rows():
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `sparselex ([a-z -]+[a-z])", text, re.MULTILINE)
    assert len(rows) > 30 and [row for row in set(rows) if rows.count(row) > 1] == []


def test_every_command_in_the_docs_exists():
    begin = {verb.partition(" ")[0] for verb in VERBS}
    for page in PAGES:
        for verb in re.findall(r"^\$ sparselex (\w+)", page.read_text(encoding="utf-8"), re.M):
            assert verb in begin, f"{page.name}: {verb}"


def test_every_figure_and_field_of_the_report_is_documented():
    text = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
    differences = [f"diff/{name}_share" for name in (*DIFF_CLASSES, "only_a_specific", "only_b_specific")]
    differences.append("diff/shared_cosine")
    fields = [*Report.model_fields, *Figure.model_fields]
    for name in [*(f"core/{name}" for name in METRICS.names()), *differences, *ExactScorer.definitions, *fields]:
        assert f"`{name}`" in text, name


def test_what_is_made_from_the_code_is_up_to_date():
    """Every option, every field of every configuration and record, and every public name: as the code has them now."""
    stale = [
        str(path.relative_to(ROOT)) for path, text in script("generate").generated().items() if stands(path) != text
    ]
    assert not stale, "run `python docs/generate.py`"


def test_every_field_and_option_says_what_it_is():
    for page in (ROOT / "docs" / "reference").glob("*.md"):
        assert not re.findall(r"^- .*: *$", stands(page), re.M), page.name


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The documentation site, built as `make docs` does: a broken link or a docstring that cannot be read fails."""
    if find_spec("mkdocs") is None or find_spec("mkdocstrings") is None:
        pytest.skip("the site needs the extra `docs`")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    result = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


@pytest.mark.slow
def test_the_site_has_every_page_and_every_public_name(site):
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert not [page for page in pages if not (site / page).exists()]
    known = "".join(page.read_text(encoding="utf-8") for page in (site / "api").glob("*.html"))
    assert not [name for name, module in sparselex._PUBLIC.items() if f'id="{module}.{name}"' not in known]
    assert "graded dictionary" in (site / "index.html").read_text(encoding="utf-8")
    assert (site / "contributing.html").exists() and (site / "lab-log.html").exists()


@pytest.mark.slow
def test_the_site_loads_nothing_from_elsewhere(site):
    """No script, style, font, picture or frame of another host; diagrams would fetch their library when shown."""
    outside = r'''<(?:script|link|img|iframe|source|video)[^>]*\s(?:src|href)=["']?(?:https?:)?//|class="mermaid"'''
    assert not [page for page in site.rglob("*.html") if re.search(outside, page.read_text(encoding="utf-8"))]
    assert not [
        sheet for sheet in site.rglob("*.css") if re.search(r"(url\(|@import)[\s\"']*https?:", sheet.read_text())
    ]


def test_every_public_name_exists():
    for name in sparselex.__all__:
        assert getattr(sparselex, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        sparselex.nonsense  # noqa: B018


TEN_CHANGES = re.findall(
    r"^\| (an? [^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", stands(ROOT / "CONTRIBUTING.md"), re.M
)
"""Change, file, table and entry point group, as the guide has them."""


def test_the_guide_has_ten_changes():
    assert len(TEN_CHANGES) == 10


@pytest.mark.parametrize(("change", "file", "table", "group"), TEN_CHANGES, ids=[change for change, *_ in TEN_CHANGES])
def test_a_change_goes_where_the_guide_says(change, file, table, group):
    """The room of its file is there, and its table is a registry of the kind that the group names."""
    named = re.findall(r"`(\w+/[\w/]+\.py)`", file)
    assert all((SRC / path).parent.is_dir() for path in named)
    if change == "an option":
        assert (table, group) == ("none", "none")
        return
    kind, registry = group.strip("`").removeprefix("sparselex."), table.split("`")[1]
    home = re.findall(r"`(\w+/[\w/]+\.py)`", table) or named
    assert re.search(rf'^{registry}\b.*= Registry\(\s*"{kind}"', stands(SRC / home[0]), re.M)


def test_the_changelog_has_an_open_section():
    assert "(unreleased)" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
