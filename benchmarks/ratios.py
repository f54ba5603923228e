"""Interleaved timing: every contender once a round, ratios taken inside a round, their median and spread over
rounds."""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from sparselex.base.figures import Figure


def options(description: str | None, **more: str) -> argparse.Namespace:
    """The options every benchmark takes, and `more` of its own: name and help, with text values."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    for name, meaning in more.items():
        parser.add_argument(f"--{name}", help=meaning)
    return parser.parse_args()


def seconds(act: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def interleaved(contenders: dict[str, Callable[[], object]], n_rounds: int) -> dict[str, np.ndarray]:
    """`[n_rounds]` seconds of each contender, after one warm-up of each."""
    for act in contenders.values():
        act()
    rounds = [{name: seconds(act) for name, act in contenders.items()} for _ in range(n_rounds)]
    return {name: np.array([each[name] for each in rounds]) for name in contenders}


def ratio(name: str, reference: np.ndarray, measured: np.ndarray, definition: str) -> Figure:
    """Speed relative to the reference (above 1 is faster): median over rounds, with the lowest and the highest."""
    ratios = reference / measured
    return Figure(
        name=name,
        value=float(np.median(ratios)),
        ci_low=float(ratios.min()),
        ci_high=float(ratios.max()),
        n=len(ratios),
        definition=f"{definition}; median over interleaved rounds, the interval is their lowest and highest",
    )


def show(title: str, figures: list[Figure], path: Path | None) -> None:
    """Print one table and write the figures where asked."""
    table = Table(title=title, title_justify="left")
    for column in ("figure", "value", "lowest … highest", "rounds", "what"):
        table.add_column(column, overflow="fold")
    for figure in figures:
        spread = "" if figure.ci_low is None else f"{figure.ci_low:.3g} … {figure.ci_high:.3g}"
        table.add_row(
            figure.name, f"{figure.value:.3g} {figure.unit}", spread, str(figure.n), figure.definition.split(";")[0]
        )
    Console(width=150).print(table)
    write(figures, path)


def write(figures: list[Figure], path: Path | None) -> None:
    """Write the figures where asked."""
    if path:
        path.write_text(json.dumps([figure.to_json() for figure in figures], indent=1) + "\n")
