"""How fast the browser's server is: `python -m benchmarks.server [--quick] [--json PATH] [--workspace PATH]`.

Starts `sparselex serve` as a user does and asks it over one local connection. Without `--workspace` it first
makes one: the embedded model, a few hundred thousand tokens of the standard library.
"""

import argparse
import http.client
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from sparselex.base.figures import Figure
from sparselex.base.workspace import MAIN, Workspace
from sparselex.evaluate.report import write_report
from sparselex.recipes.config import new_run
from sparselex.recipes.run import Run

LIMITS_MS = {"feature page": 20.0}
"""What we promise; the other pages are measured without a promise."""


def build(folder: Path, quick: bool) -> Workspace:
    """A finished run of 4,096 latents (quick: 512) to browse."""
    workspace = Workspace.create(folder)
    n_tokens = 60_000 if quick else 400_000
    run = Run.create(workspace, MAIN, new_run("embedded", "stdlib", n_tokens=n_tokens))
    run.do("train", expansion=1 if quick else 8)
    for verb in ("index", "explain", "evaluate"):
        run.do(verb)
    write_report(workspace)
    return workspace


class Server:
    """`sparselex serve` on a free port, with the seconds from its start to its first answer."""

    def __init__(self, workspace: Workspace):
        self.started = time.perf_counter()
        command = [sys.executable, "-c", "from sparselex.cli.main import main; main()", "serve"]
        self.process = subprocess.Popen(
            [*command, str(workspace.path), "--port", "0"], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        line = next(line for line in self.process.stdout if "http://" in line)
        self.connection = http.client.HTTPConnection(line.split("http://")[1].split()[0])
        self.get("/")
        self.start_s = time.perf_counter() - self.started

    def get(self, path: str) -> float:
        """Milliseconds until the whole answer is here. Raises `RuntimeError` unless it is a page."""
        before = time.perf_counter()
        self.connection.request("GET", path)
        answer = self.connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path} answered {answer.status}")
        return 1e3 * (time.perf_counter() - before)

    def stop(self) -> None:
        """End the server."""
        self.connection.close()
        self.process.terminate()
        self.process.wait()


def measure(workspace: Workspace, n: int) -> list[Figure]:
    """Start the server once and time `n` pages of each kind, in turns."""
    manifest = json.loads((workspace.run(MAIN) / "index" / "manifest.json").read_text())
    d_sae, rng = manifest["notes"]["d_sae"], random.Random(0)
    addresses = {
        "feature page": lambda: f"/runs/{MAIN}/features/{rng.randrange(d_sae)}",
        "feature list": lambda: f"/runs/{MAIN}/features?page={rng.randrange(1, 6)}",
        "feature search": lambda: f"/runs/{MAIN}/features?q={rng.choice(['self', 'return', 'the', 'def'])}",
        "overview": lambda: "/",
    }
    server = Server(workspace)
    try:
        first = server.get(addresses["feature page"]())
        times: dict[str, list[float]] = {name: [] for name in addresses}
        for _ in range(n):
            for name, address in addresses.items():
                times[name].append(server.get(address()))
    finally:
        server.stop()
    return figures_of(server.start_s, first, times, f"{d_sae:,} latents, one local connection, pages asked in turns")


def figures_of(start_s: float, first_ms: float, times_ms: dict[str, list[float]], setting: str) -> list[Figure]:
    """The figures of one measurement."""
    started = "from the start of `sparselex serve` to the end of its first answer, the overview"
    opened = f"the first feature page, which opens the index; {setting}"
    found = [
        Figure(name="server/start_s", value=start_s, unit="s", n=1, definition=started),
        Figure(name="server/first_feature_page_ms", value=first_ms, unit="ms", n=1, definition=opened),
    ]
    for page, values in times_ms.items():
        for percentile in (50, 99):
            name = f"server/{page.replace(' ', '_')}_p{percentile}_ms"
            value = float(np.percentile(values, percentile))
            words = f"{percentile}th percentile of the time from request to whole answer; {setting}"
            found.append(Figure(name=name, value=value, unit="ms", n=len(values), definition=words))
    return found


def show(figures: list[Figure]) -> None:
    """Print the one table."""
    table = Table(title="the browser's server", title_justify="left")
    for column in ("figure", "value", "unit", "n"):
        table.add_column(column, justify="right" if column in ("value", "n") else "left")
    for figure in figures:
        table.add_row(figure.name, f"{figure.value:.3g}", figure.unit, str(figure.n))
    Console().print(table)
    for name, limit in LIMITS_MS.items():
        print(f"promised: a {name} in under {limit:g} ms (median)")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smaller workspace and fewer pages")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures there as well")
    parser.add_argument("--workspace", type=Path, metavar="PATH", help="browse this one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = options.workspace is None
        workspace = build(Path(folder) / "workspace", options.quick) if made else Workspace(options.workspace)
        figures = measure(workspace, 50 if options.quick else 300)
    show(figures)
    if options.json:
        options.json.write_text(json.dumps([figure.to_json() for figure in figures], indent=1) + "\n")


if __name__ == "__main__":
    main()
