"""Shared by all rooms: where the optional real data lies, and one thread for tensor work."""

from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)

SHARED = Path(__file__).parent.parent.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real models and text beside the project; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"the optional data folder {SHARED} is absent")
    return SHARED
