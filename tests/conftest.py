"""Shared by all rooms: where the optional real data lies, and one thread for tensor work."""

from pathlib import Path

import pytest
import torch

from sparselex.base.workspace import Workspace
from sparselex.features.index import FeatureIndex
from sparselex.recipes.config import twin_of
from sparselex.text.corpus import TokenCorpus
from tests.support.small import build_all, small_config, write_documents

torch.set_num_threads(1)

SHARED = Path(__file__).parent.parent.parent / "shared" / "data"


LONGEST = (
    "cli/test_stops.py",
    "recipes/test_finish.py",
    "recipes/test_divided.py",
    "cli/test_kills.py",
    "lm/test_smollm2.py",
    "recipes/test_sites.py",
    "recipes/test_run.py",
    "server/test_pages.py",
    "training/test_training.py",
)
"""Files that take longest, which come first: else one worker would sit idle while the other is at the last of them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, all else as it was found."""
    places = {str(Path(__file__).parent / name): place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(str(item.path), len(LONGEST)))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are never part of a test's name: gzip puts the time in them, and two workers would collect other tests."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real models and text beside the project; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"the optional data folder {SHARED} is absent")
    return SHARED


@pytest.fixture(scope="session")
def small_workspace(tmp_path_factory) -> Workspace:
    """A workspace with a finished `main` run and its random twin. Read only: tests that change it make their own."""
    root = tmp_path_factory.mktemp("small")
    workspace = Workspace.create(root / "workspace")
    config = small_config(write_documents(root / "text"))
    build_all(workspace, config)
    build_all(workspace, twin_of(config), "twin")
    return workspace


@pytest.fixture(scope="session")
def small_index(small_workspace) -> FeatureIndex:
    """The feature index of the small `main` run."""
    return FeatureIndex(small_workspace.run("main") / "index", TokenCorpus(small_workspace.corpus_of("main")))
