"""How fast the browser is over many latents: `python -m benchmarks.browse [--quick] [--json PATH] [--workspace PATH]`.

Makes an index of 100,000 latents over real text (quick: 10,000), starts `sparselex serve` as a user does, and asks it
over local connections: one reader, then several at once, then a real browser where there is one. What each figure is
held against is what is promised on two cores that have nothing else to do.
"""

import argparse
import http.client
import json
import multiprocessing
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.many import JUDGES, many_latents
from sparselex.base.figures import Figure
from sparselex.base.workspace import MAIN, Workspace

LIMITS = {
    "start_s": 2.0,
    "feature_page_1_reader_p99_ms": 25.0,
    "feature_page_16_readers_p99_ms": 100.0,
    "list_sort_p99_ms": 50.0,
    "list_scored_p99_ms": 50.0,
    "list_search_p99_ms": 50.0,
    "list_conditions_p99_ms": 50.0,
    "meaning_p99_ms": 100.0,
    "memory_mb": 500.0,
    "browser_load_p99_ms": 300.0,
    "browser_layout_shift": 0.0,
}
"""What is promised."""

WORDS = ["self", "return", "dialogue", '"', "import os", "encode", "raise ValueError", "yield", "#", "unicode"]
SORTS = ["score", "density", "max", "latent", "mean", "active", "null", "top", "explanation", "flags"]
SCORES = ["rule/exact/f1", *(f"llm/{judge}/{metric}" for judge, metric in JUDGES.items())]
MEANINGS = ["raising an error", "text inside quotation marks", "numbers", "reading files", "names of classes"]
CONDITIONS = ["density<0.001", "score>0.5 is:single-token", "max>=5 not:dead", "latent<1000 null<0.05"]

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]

SHIFT = """() => new Promise(done => {
  let total = 0;
  new PerformanceObserver(list => list.getEntries().forEach(entry => { total += entry.value; }))
    .observe({ type: "layout-shift", buffered: true });
  const [page] = performance.getEntriesByType("navigation");
  setTimeout(() => done([page.loadEventEnd - page.startTime, total]), 100);
})"""
"""Milliseconds to the end of the load event, and how far things moved on the page."""


class Server:
    """`sparselex serve` on a free port, with the seconds from its start to its first answer."""

    def __init__(self, workspace: Workspace):
        started = time.perf_counter()
        command = [sys.executable, "-c", "from sparselex.cli.main import main; main()", "serve"]
        self.process = subprocess.Popen(
            [*command, str(workspace.path), "--port", "0"], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        line = next(line for line in self.process.stdout if "http://" in line)
        self.address = line.split("http://")[1].split()[0]
        read(self.address, ["/"])
        self.start_s = time.perf_counter() - started

    def memory_mb(self) -> tuple[float, float]:
        """Memory of the server and all its processes, what they share counted once: their own, and pages of files,
        which the system takes back when it needs them; Linux only."""
        own, files = zip(*(_pss_mb(pid) for pid in _family(self.process.pid)), strict=True)
        return sum(own), sum(files)

    def stop(self) -> None:
        """End the server."""
        self.process.terminate()
        self.process.wait()


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in _family(int(child)))]


def _pss_mb(pid: int) -> tuple[float, float]:
    lines = [line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]]
    kilobytes = {line[0].rstrip(":"): int(line[1]) for line in lines}
    return (kilobytes["Pss"] - kilobytes["Pss_File"]) / 1024, kilobytes["Pss_File"] / 1024


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


def lists(n: int, rng: random.Random) -> dict[str, list[str]]:
    """Addresses of the list by kind of question, `n` of each."""
    address = lambda **options: f"/runs/{MAIN}/features?{urlencode(options)}"
    order = lambda: rng.choice(["asc", "desc"])
    return {
        "list_sort": [address(sort=rng.choice(SORTS), order=order()) for _ in range(n)],
        "list_scored": [address(score=rng.choice(SCORES), q="score>0.1", order=order()) for _ in range(n)],
        "list_conditions": [address(q=rng.choice(CONDITIONS), sort=rng.choice(SORTS[:6])) for _ in range(n)],
        "list_search": [address(q=rng.choice(WORDS)) for _ in range(n)],
        "list_pattern": [address(q=rng.choice([r"\bdef __\w+__", "[\"'][A-Z]"]), mode="regex") for _ in range(n)],
        "list_token": [address(q=rng.choice(["return", "self", "·return"]), mode="token") for _ in range(n)],
        "meaning": [address(q=rng.choice(MEANINGS), mode="meaning") for _ in range(n)],
    }


def measure(workspace: Workspace, n: int) -> list[Figure]:
    """Start the server once; time `n` pages of each kind for one reader, and feature pages for several at once."""
    manifest = json.loads((workspace.run(MAIN) / "index" / "manifest.json").read_text())
    d_sae, rng = manifest["notes"]["d_sae"], random.Random(0)
    pages = lambda n: [f"/runs/{MAIN}/features/{rng.randrange(d_sae)}" for _ in range(n)]
    setting, server = f"{d_sae:,} latents, readers in a process of their own", Server(workspace)
    figures = [_figure("start_s", [server.start_s], "s", "from `sparselex serve` to the end of its first answer")]
    try:
        asked = {name: paths for name, paths in lists(n, rng).items() if name != "meaning" or _embedded(workspace)}
        for name, paths in asked.items():
            first = read(server.address, [*dict.fromkeys(paths)])[0]
            figures.append(_figure(f"{name}_first_ms", [first], "ms", f"the first of its kind; {setting}"))
            figures += _percentiles(name, readers(server.address, [paths]), setting)
        read(server.address, pages(5))
        for at_once in (1, 16):
            each = [pages(max(n // at_once, 20)) for _ in range(at_once)]
            name = f"feature_page_{at_once}_reader{'s' if at_once > 1 else ''}"
            figures += _percentiles(name, readers(server.address, each), setting)
        own, files = server.memory_mb()
        figures.append(_figure("memory_mb", [own], "MB", "of all its processes, after all of the above"))
        figures.append(_figure("mapped_mb", [files], "MB", "pages of files that they have mapped, beside that"))
        figures += in_browser(server.address, pages(min(n, 30)))
    finally:
        server.stop()
    return figures


def _embedded(workspace: Workspace) -> bool:
    return workspace.has(MAIN, "embeddings")


def in_browser(address: str, paths: Sequence[str]) -> list[Figure]:
    """How long a feature page takes to load in Chromium, and how far things move on it; nothing where there is
    none."""
    chromium = shutil.which("chromium")
    if chromium is None:
        return []
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        tab = browser.new_page(viewport={"width": 1360, "height": 900})
        found = []
        for path in paths:
            tab.goto(f"http://{address}{path}")
            found.append(tab.evaluate(SHIFT))
        browser.close()
    loads, shifts = zip(*found[1:], strict=True)  # the first starts the browser's own processes
    moved = _figure("browser_layout_shift", [max(shifts)], "", "largest cumulative layout shift of these pages")
    return [*_percentiles("browser_load", loads, "from navigation to the end of the load event, feature pages"), moved]


def _percentiles(name: str, values: Sequence[float], setting: str) -> list[Figure]:
    words = f"percentile of the time from request to whole answer; {setting}"
    return [
        Figure(
            name=f"browse/{name}_p{percent}_ms",
            value=float(np.percentile(values, percent)),
            unit="ms",
            n=len(values),
            definition=f"{percent}th {words}",
        )
        for percent in (50, 99)
    ]


def _figure(name: str, values: Sequence[float], unit: str, definition: str) -> Figure:
    return Figure(name=f"browse/{name}", value=values[0], unit=unit, n=len(values), definition=definition)


def show(figures: list[Figure]) -> None:
    """Print the one table."""
    table = Table(title="the browser over many latents", title_justify="left")
    for column in ("figure", "value", "promised", "unit", "n"):
        table.add_column(column, justify="left" if column in ("figure", "unit") else "right")
    for figure in figures:
        limit = LIMITS.get(figure.name.removeprefix("browse/"))
        table.add_row(
            figure.name, f"{figure.value:.3g}", "" if limit is None else f"{limit:g}", figure.unit, str(figure.n)
        )
    Console(width=100).print(table)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer latents and fewer pages")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures there as well")
    parser.add_argument("--workspace", type=Path, metavar="PATH", help="browse this one; made there if it is not there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.workspace or Path(folder) / "workspace"
        many = (10_000, 100_000) if options.quick else (100_000, 600_000)
        workspace = Workspace(path) if path.exists() else many_latents(path, *many)
        figures = measure(workspace, 50 if options.quick else 300)
    show(figures)
    if options.json:
        options.json.write_text(json.dumps([figure.to_json() for figure in figures], indent=1) + "\n")


if __name__ == "__main__":
    main()
