"""How fast the browser's server is: `python -m benchmarks.server [--quick] [--json PATH] [--workspace PATH]`.

Starts `sparselex serve` as a user does and asks it over local connections: one reader, then several at once. Without
`--workspace` it first makes one: the embedded model, a few hundred thousand tokens of the standard library.
"""

import argparse
import http.client
import json
import multiprocessing
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from sparselex.base.figures import Figure
from sparselex.base.workspace import MAIN, Workspace
from sparselex.evaluate.report import write_report
from sparselex.recipes.config import new_run
from sparselex.recipes.run import Run

LIMITS_MS = {1: 25.0, 32: 200.0}
"""What is promised: 99th percentile of a feature page, by the number of readers at once."""


SMALLEST = "/static/icon.svg"
"""What costs nothing to make: the limit that the server and its readers set."""


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


def opened(workspace: Path | None, folder: Path, quick: bool) -> Workspace:
    """The workspace that was named, or one made under `folder`."""
    return build(folder / "workspace", quick) if workspace is None else Workspace(workspace)


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
        self.address = line.split("http://")[1].split()[0]
        read(self.address, ["/"])
        self.start_s = time.perf_counter() - self.started

    def stop(self) -> None:
        """End the server."""
        self.process.terminate()
        self.process.wait()


def read(address: str, paths: Sequence[str]) -> list[float]:
    """Milliseconds until each answer is here whole, one after the other over one connection. Raises `RuntimeError`
    unless each is a page."""
    connection, times = http.client.HTTPConnection(address), []
    for path in paths:
        before = time.perf_counter()
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path} answered {answer.status}")
        times.append(1e3 * (time.perf_counter() - before))
    connection.close()
    return times


def readers(address: str, each: Sequence[Sequence[str]]) -> list[float]:
    """Milliseconds of every answer where one reader for each list of paths reads at once; all of them in a process of
    their own, so that they do not share the server's interpreter, nor one that does anything else."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as apart:
        return apart.submit(_read_at_once, address, each).result()


def _read_at_once(address: str, each: Sequence[Sequence[str]]) -> list[float]:
    with ThreadPoolExecutor(len(each)) as threads:
        return [took for times in threads.map(partial(read, address), each) for took in times]


def measure(workspace: Workspace, n: int) -> list[Figure]:
    """Start the server once; time `n` pages of each kind for one reader, and feature pages for several at once."""
    manifest = json.loads((workspace.run(MAIN) / "index" / "manifest.json").read_text())
    d_sae, rng = manifest["notes"]["d_sae"], random.Random(0)

    def feature_pages(n: int) -> list[str]:
        return [f"/runs/{MAIN}/features/{rng.randrange(d_sae)}" for _ in range(n)]

    pages = {
        "feature list": [f"/runs/{MAIN}/features?page={rng.randrange(1, 6)}" for _ in range(n)],
        "feature search": [f"/runs/{MAIN}/features?q={rng.choice(['self', 'return', 'the', 'def'])}" for _ in range(n)],
        "overview": ["/"] * n,
    }
    server = Server(workspace)
    try:
        first = read(server.address, feature_pages(1))[0]
        times = {name: readers(server.address, [paths]) for name, paths in pages.items()}
        times["static file 32 readers"] = readers(server.address, [[SMALLEST] * max(n // 32, 10)] * 32)
        for at_once in (1, 8, 32):
            each = [feature_pages(max(n // at_once, 10)) for _ in range(at_once)]
            times[feature_page(at_once)] = readers(server.address, each)
    finally:
        server.stop()
    return figures_of(server.start_s, first, times, f"{d_sae:,} latents, readers in a process of their own")


def feature_page(n_readers: int) -> str:
    """What the figures of feature pages are called."""
    return f"feature page {n_readers} reader{'s' if n_readers > 1 else ''}"


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
    for n, limit in LIMITS_MS.items():
        print(f"promised: {feature_page(n)}, 99th percentile, under {limit:g} ms on two cores")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smaller workspace and fewer pages")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures there as well")
    parser.add_argument("--workspace", type=Path, metavar="PATH", help="browse this one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = opened(options.workspace, Path(folder), options.quick)
        figures = measure(workspace, 50 if options.quick else 300)
    show(figures)
    if options.json:
        options.json.write_text(json.dumps([figure.to_json() for figure in figures], indent=1) + "\n")


if __name__ == "__main__":
    main()
