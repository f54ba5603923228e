"""The quick tier: what `make quick` leaves out is slow, and what it keeps still touches every room."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = sorted(path.name for path in (ROOT / "src" / "sparselex").iterdir() if (path / "__init__.py").exists())


@pytest.fixture(scope="module")
def quick() -> list[str]:
    """The tests that the quick tier runs, by their addresses."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-m", "not slow", "-p", "no:cacheprovider"]
    result = subprocess.run([*command, str(ROOT / "tests")], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr
    return [line for line in result.stdout.splitlines() if "::" in line]


@pytest.mark.slow
@pytest.mark.parametrize("room", ROOMS)
def test_it_touches_every_room(room, quick):
    assert [test for test in quick if test.startswith(f"tests/{room}/")]


@pytest.mark.slow
@pytest.mark.parametrize("file", ["test_layers.py", "test_style.py", "test_docs.py"])
def test_it_holds_the_house_in_shape(file, quick):
    assert [test for test in quick if test.startswith(f"tests/{file}")]
