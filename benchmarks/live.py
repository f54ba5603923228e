"""How fast the live model answers in the browser: `python -m benchmarks.live [--quick] [--model NAME] [--json PATH]
[--workspace PATH]`.

Starts `sparselex serve --live` as a user does and asks it over local connections: texts that were never asked before,
features tried and ablated, steering; then feature pages while another reader steers without end. Without `--workspace`
it first makes one: `--model` (embedded, smollm2) on the standard library.
"""

import argparse
import http.client
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import quote

import numpy as np
from rich.console import Console
from rich.table import Table

from sparselex.base.figures import Figure
from sparselex.base.workspace import MAIN, Workspace
from sparselex.recipes.config import new_run
from sparselex.recipes.run import Run

LIMITS_MS = {"embedded": 200.0, "smollm2": 1000.0}
"""What is promised: a text of fifty tokens, on two cores that have nothing else to do."""

WORDS = (
    "the",
    "value",
    "of",
    "a",
    "list",
    "is",
    "returned",
    "when",
    "no",
    "other",
    "name",
    "in",
    "this",
    "file",
    "has",
)
"""Of which texts are put together: nearly each is a token of every model."""


def build(folder: Path, model: str, quick: bool) -> Workspace:
    """A run with an index, of one model."""
    workspace = Workspace.create(folder)
    run = Run.create(workspace, MAIN, new_run(model, "stdlib", n_tokens=30_000 if quick else 200_000))
    run.do("train", expansion=1 if quick else 8)
    run.do("index")
    return workspace


class Server:
    """`sparselex serve --live` on a free port."""

    def __init__(self, workspace: Workspace):
        command = [sys.executable, "-m", "sparselex", "serve", str(workspace.path), "--live", "--port", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = next(line for line in self.process.stdout if "http://" in line)
        self.address = line.split("http://")[1].split()[0]

    def get(self, path: str, reader: str = "one") -> tuple[int, bytes, float]:
        """Status, body and milliseconds of one answer."""
        connection, began = http.client.HTTPConnection(self.address, timeout=600), time.perf_counter()
        connection.request("GET", f"/runs/{MAIN}/{path}", headers={"Cookie": f"sparselex-reader={reader}"})
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, body, 1e3 * (time.perf_counter() - began)

    def load(self) -> float:
        """Seconds until the model answers for the first time."""
        began = time.perf_counter()
        while self.get("text.json?t=first")[0] == 503:
            time.sleep(0.2)
        return time.perf_counter() - began


def measure(workspace: Workspace, n: int) -> list[Figure]:
    """Start the server once, ask each kind of question `n` times, and read beside one who steers."""
    server, rng, times = Server(workspace), random.Random(0), dict[str, list[float]]()

    def text(n_words: int = 49) -> str:
        return quote(" ".join(rng.choice(WORDS) for _ in range(n_words)))

    def asked(name: str, path: str) -> bytes:
        status, body, took = server.get(path)
        if status != 200:
            raise RuntimeError(f"{path} answered {status}")
        times.setdefault(name, []).append(took)
        return body

    try:
        load_s = server.load()
        n_tokens = []
        for _ in range(n):
            found = json.loads(server.get(f"text.json?bos=1&t={(words := text())}")[1])
            n_tokens.append(len(found["tokens"]))
            latent = found["rows"][0]["latent"]
            times.setdefault("text in the model's process", []).append(1e3 * found["live"]["seconds"])
            asked("text page", f"text?t={text()}")
            asked("text page again, sorted by similarity", f"text?order=similarity&t={words}")
            asked("feature tried", f"features/{latent}/try?t={text()}")
            asked("feature ablated", f"features/{latent}/without?prompt={text()}")
        for seed in range(max(2, n // 10)):
            asked("steering, 40 tokens", f"steer?latent={latent}&n=40&temperature=1&seed={seed}&prompt={text(8)}")
        times["feature page beside one who steers"] = _beside(server, latent, n)
    finally:
        server.process.terminate()
        server.process.wait()
    return figures_of(load_s, times, f"texts of {np.mean(n_tokens):.0f} tokens")


def _beside(server: Server, latent: int, n: int) -> list[float]:
    """Milliseconds of feature pages while another reader steers without end."""
    stop, took = threading.Event(), list[float]()

    def steer() -> None:
        seed = 1000
        while not stop.is_set():
            seed += 1
            server.get(f"steer.json?latent={latent}&n=100&temperature=1&seed={seed}&prompt=def", reader="another")

    other = threading.Thread(target=steer)
    other.start()
    for number in range(n):
        took.append(server.get(f"features/{number}")[2])
    stop.set()
    other.join()
    return took


def figures_of(load_s: float, times_ms: dict[str, list[float]], setting: str) -> list[Figure]:
    """The figures of one measurement."""
    loaded = "from the first question to its answer: the process starts, the model is loaded"
    found = [Figure(name="live/load_s", value=load_s, unit="s", n=1, definition=loaded)]
    for name, values in times_ms.items():
        for percentile in (50, 95):
            words = f"{percentile}th percentile of the time from request to whole answer; {setting}"
            path = f"live/{name.replace(',', '').replace(' ', '_')}_p{percentile}_ms"
            value = float(np.percentile(values, percentile))
            found.append(Figure(name=path, value=value, unit="ms", n=len(values), definition=words))
    return found


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smaller workspace and fewer questions")
    parser.add_argument("--model", choices=sorted(LIMITS_MS), default="embedded")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures there as well")
    parser.add_argument("--workspace", type=Path, metavar="PATH", help="ask the run `main` of this one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        own = Workspace(options.workspace) if options.workspace else None
        figures = measure(own or build(Path(folder) / "w", options.model, options.quick), 8 if options.quick else 40)
    table = Table(title=f"the live model, {options.model}", title_justify="left")
    for column in ("figure", "value", "unit", "n"):
        table.add_column(column, justify="right" if column in ("value", "n") else "left")
    for figure in figures:
        table.add_row(figure.name, f"{figure.value:.3g}", figure.unit, str(figure.n))
    Console().print(table)
    print(f"promised: text page of fifty tokens under {LIMITS_MS[options.model]:g} ms on two cores")
    if options.json:
        options.json.write_text(json.dumps([figure.to_json() for figure in figures], indent=1) + "\n")


if __name__ == "__main__":
    main()
