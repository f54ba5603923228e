"""Runs notebooks in place, cell by cell as one program, and keeps what each cell shows: `python examples/execute.py`.

A cell shows what it prints, and the value of its last line.
"""

import contextlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any


def execute(path: Path) -> None:
    """Run a notebook in an empty folder, and write it back with its outputs."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    names: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for number, cell in enumerate((c for c in notebook["cells"] if c["cell_type"] == "code"), 1):
            cell["execution_count"], cell["outputs"] = number, outputs("".join(cell["source"]), names, number)
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def outputs(source: str, names: dict[str, Any], number: int) -> list[dict[str, Any]]:
    """What one cell shows."""
    *first, last = source.rstrip().split("\n")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile("\n".join(first), "cell", "exec"), names)
        value = eval(compile(last, "cell", "eval"), names)
    found: list[dict[str, Any]] = []
    if said.getvalue():
        found.append({"output_type": "stream", "name": "stdout", "text": said.getvalue().splitlines(keepends=True)})
    if value is not None:
        data = {"text/plain": repr(value).splitlines(keepends=True)[:20]}
        if hasattr(value, "_repr_html_"):
            data = {"text/html": value._repr_html_().splitlines(keepends=True), "text/plain": [type(value).__name__]}
        found.append({"output_type": "execute_result", "execution_count": number, "data": data, "metadata": {}})
    return found


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    for given in sys.argv[1:] or sorted(map(str, Path(__file__).parent.glob("*.ipynb"))):
        execute(Path(given).absolute())
        print(given)
