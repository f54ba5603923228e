"""Types for users: the code of README and docs passes `mypy --strict` against the installed package."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import sparselex
from tests.support.wheel import ROOT, build_wheel, install_wheel

PAGES = ["README.md", "docs/library.md", "docs/dictionaries.md"]


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """The interpreter of an environment in which sparselex was installed."""
    folder = tmp_path_factory.mktemp("typed")
    return install_wheel(build_wheel(folder / "wheels"), folder / "environment") / "python"


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """Where the type checker keeps what it knows of the libraries, for all tests here."""
    return tmp_path_factory.mktemp("mypy")


def strict(file: Path, python: Path, cache: Path) -> list[str]:
    """What `mypy --strict` says of a user's file, line by line."""
    options = ["--strict", "--no-error-summary", "--python-executable", str(python), "--cache-dir", str(cache)]
    command = [sys.executable, "-m", "mypy", "--config-file", "", *options, file.name]
    result = subprocess.run(command, cwd=file.parent, env={"HOME": str(cache)}, capture_output=True, text=True)
    assert not result.stderr, result.stderr
    return result.stdout.splitlines()


@pytest.mark.slow
def test_every_public_name_has_a_type(python, cache, tmp_path):
    names = sorted(sparselex._PUBLIC)
    file = tmp_path / "names.py"
    file.write_text("import sparselex\n" + "".join(f"reveal_type(sparselex.{name})\n" for name in names))
    said = dict(re.findall(r'names.py:(\d+): note: Revealed type is "(.*)"', "\n".join(strict(file, python, cache))))
    assert len(said) == len(names)
    assert not [name for line, name in enumerate(names, 2) if "sparselex" not in said[str(line)]]


@pytest.mark.slow
def test_a_name_that_is_not_public_is_refused(python, cache, tmp_path):
    file = tmp_path / "wrong.py"
    file.write_text("import sparselex\nsparselex.load_modle\nsparselex.load_model(3)\n")
    said = strict(file, python, cache)
    assert any("load_modle" in line for line in said) and any("[arg-type]" in line for line in said)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_is_typed(page, python, cache, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.S)
    file = tmp_path / "page.py"
    file.write_text("\n".join(blocks))
    assert blocks and not strict(file, python, cache)


def test_only_public_names_are_listed():
    """`dir` shows what the table has; nothing that the file itself imports, nothing that was loaded meanwhile."""
    assert dir(sparselex) == sorted(sparselex._PUBLIC) == sparselex.__all__
