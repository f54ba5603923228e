"""The package as a user has it: a wheel of this checkout, installed alone into an environment that does not see it."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]


def build_wheel(folder: Path) -> Path:
    """Build the wheel of the checkout into `folder`. What the build needs is in the environment of the tests."""
    options = ["--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--quiet"]
    checked([sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", str(folder), str(ROOT)], folder.parent)
    (wheel,) = folder.glob("sparselex-*.whl")
    return wheel


def install_wheel(wheel: Path, folder: Path) -> Path:
    """Install `wheel` into a new environment in `folder` and return the environment's folder of programs.

    It finds the dependencies where the tests have them. Only that folder's packages are seen, none of its `.pth` files,
    by which an editable install would lead back to the checkout.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    programs = folder / "bin"
    pip = [sys.executable, "-m", "pip", "--python", str(programs / "python"), "--disable-pip-version-check"]
    checked([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], folder.parent)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return programs


def checked(command: list[str], folder: Path) -> str:
    """What a command prints, run in `folder` with nothing of ours in its environment. Fails with what it said."""
    home = {"HOME": str(folder), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PATH": os.environ["PATH"]}
    result = subprocess.run(command, cwd=folder, env=home, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout
