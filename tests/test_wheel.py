"""The wheel: it holds every file of the package, and its demo runs where nobody ever saw the checkout."""

import subprocess
import urllib.request
import zipfile
from pathlib import Path

import pytest

from tests.support.wheel import ROOT, build_wheel, checked, install_wheel

pytestmark = pytest.mark.slow

SRC = ROOT / "src"
SMALL = ["--tokens", "20000", "--context", "64", "--expansion", "0.25", "--k", "4", "--no-serve"]
FILES = "import sys, sparselex.recipes.demo, sparselex.server.app, sparselex.cli.main\n"
FILES += (
    "print(*(module.__file__ for name, module in sys.modules.items() if name.split('.')[0] == 'sparselex'), sep='\\n')"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("built") / "wheels")


@pytest.fixture(scope="module")
def programs(wheel, tmp_path_factory) -> Path:
    return install_wheel(wheel, tmp_path_factory.mktemp("installed") / "environment")


@pytest.fixture(scope="module")
def demo(programs, tmp_path_factory) -> Path:
    """An otherwise empty folder with the workspace of a small demo."""
    folder = tmp_path_factory.mktemp("empty")
    checked([str(programs / "sparselex"), "demo", "first", *SMALL], folder)
    return folder


def test_every_file_of_the_package_is_inside(wheel):
    ours = {path.relative_to(SRC).as_posix() for path in (SRC / "sparselex").rglob("*") if path.is_file()}
    inside = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in ours if "__pycache__" not in name} == {
        name for name in inside if ".dist-info/" not in name
    }
    needed = {"py.typed", "__init__.pyi", "lm/weights/seed-0/model.safetensors", "server/static/style.css"}
    assert {f"sparselex/{name}" for name in needed} <= inside
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in inside)


def test_nothing_comes_from_the_checkout(programs, tmp_path):
    assert "demo" in checked([str(programs / "sparselex"), "--help"], tmp_path)
    files = checked([str(programs / "python"), "-c", FILES], tmp_path).split()
    assert len(files) > 50 and all(file.startswith(str(programs.parent)) for file in files)


def test_the_demo_runs_in_an_empty_folder(demo):
    assert [path.name for path in demo.iterdir() if not path.name.startswith(".")] == ["first"]
    assert {path.name for path in (demo / "first" / "runs").iterdir()} == {"main", "twin"}
    assert (demo / "first" / "report.json").stat().st_size > 1_000


def test_its_pages_have_their_templates_and_styles(programs, demo):
    command = [str(programs / "sparselex"), "serve", "first", "--port", "0"]
    with subprocess.Popen(command, cwd=demo, env={"HOME": str(demo)}, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            line = next(line for line in process.stdout if "http://" in line)
            address = line.split(" at ")[1].split()[0]
            for page in ("/", "/runs/main/features", "/static/style.css", "/static/app.js"):
                with urllib.request.urlopen(address + page, timeout=20) as answer:
                    assert answer.status == 200 and answer.read()
        finally:
            process.terminate()
