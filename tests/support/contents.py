"""What folders hold."""

from pathlib import Path


def contents(folder: Path) -> dict[str, bytes]:
    """Bytes of every file under `folder` by its name, but for hidden ones and databases."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".") and "sqlite" not in path.name
    }
