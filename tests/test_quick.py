"""The quick tier: what `make quick` leaves out is slow, and what it keeps still touches every room."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = sorted(path.name for path in (ROOT / "src" / "sparselex").iterdir() if (path / "__init__.py").exists())


@pytest.mark.parametrize("place", [*ROOMS, "test_layers.py", "test_style.py", "test_docs.py"])
def test_the_quick_tier_touches(place, request):
    """Looks at what pytest has collected already, so that nothing is collected twice."""
    options = request.config.option
    if options.file_or_dir or options.keyword:
        pytest.skip("only a part of the tests was asked for")
    quick = [item.path for item in request.session.items if item.get_closest_marker("slow") is None]
    assert any((ROOT / "tests" / place) in (path, *path.parents) for path in quick)
