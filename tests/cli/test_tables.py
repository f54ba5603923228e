"""Tables on the console: what was not measured is said, and a pipe has room for all columns."""

import io
import re

import pytest
from rich.console import Console

from sparselex.atlas.records import LatentDifference, ModelDiff, SweepReport, SweepRow
from sparselex.base.figures import Figure
from sparselex.cli.tables import interval, number, print_diff, print_report, print_sweep
from sparselex.evaluate.records import Answer, Report

LONG = "core/embedded:blocks.0.mlp.hook_post/loss_recovered_mean"


def figure(name, value=0.5, low=0.25, high=0.75, **about):
    return Figure(name=name, value=value, ci_low=low, ci_high=high, n=1234, definition="x", **about)


def failed(name):
    return Figure(name=name, unit="nats", definition="x", failure="no token was counted")


def printed(show, record, **options) -> str:
    file = io.StringIO()
    show(record, Console(file=file, **options))
    return file.getvalue()


REPORT = Report(
    run="wide",
    figures=[figure(LONG, unit="nats", null=0.125, controls={"drawn": 0.0625, "pca": 3.0}), failed("core/kl")],
    answers=[Answer(question="Is it so?", answer="It is.", evidence=["a figure 0.5"])],
    controls={"drawn": [], "pca": []},
    verdicts=["Clearly different."],
    others={"main": {"core/kl": 1.0}},
    stale={"diff": "its index is gone, and `sparselex index` makes that again"},
)


def test_a_report_has_every_part_of_a_figure():
    text = printed(print_report, REPORT)
    assert text.startswith("Is it so? It is.\n    a figure 0.5\n")
    for part in (LONG, "0.5 nats", "0.25 … 0.75", "0.125", "0.0625", "1,234", "wide, beside its controls"):
        assert part in text, part
    assert text.index("drawn") < text.index("pca"), "twins first, as in the report"
    row = next(line for line in text.splitlines() if "core/kl" in line)
    assert "not measured" in row and "nats" not in row
    for part in ("Clearly different.", "no controls of this one: main.", "Left out: diff, its index is gone"):
        assert part in text, part


@pytest.mark.parametrize(("low", "high"), [(None, 1.0), (0.0, None), (None, None)])
def test_half_an_interval_is_none(low, high):
    assert interval(figure("x", low=low, high=high)) == ""


def test_numbers():
    assert number(None) == "" and number(None, missing="not measured") == "not measured"
    assert number(0.123456) == "0.1235" and number(0.123456, 3) == "0.123"


NAMES = ("core/l0", "core/fvu", "core/loss_recovered_mean", "core/ce_increase")
SWEEP = SweepReport(
    rows=[
        SweepRow(
            name="topk",
            hook="h",
            settings={},
            seed=0,
            figures=[*(figure(name) for name in NAMES), figure("train/dead_share", 0.125)],
            fronts=["core/fvu"],
        ),
        SweepRow(name="relu", hook="h", settings={}, seed=0, failure="it diverged"),
    ],
    controls={"h/pca-k8": [figure(name) for name in NAMES]},
    stability=[figure("stability/topk/nearest_cosine", null=0.0625), failed("stability/topk/matched_cosine")],
)


def test_a_sweep_shows_fronts_failures_and_controls():
    text = printed(print_sweep, SWEEP)
    (topk, control) = (next(line for line in text.splitlines() if name in line) for name in ("│ topk ", "pca-k8"))
    assert "● 0.5" in topk and "0.250 … 0.750" in topk and "0.125" in topk
    assert "(control) pca-k8" in control and "0.125" not in control and "0.250 … 0.750" in control
    assert "failed: it diverged" in text and "not measured: no token was counted" in text and "0.062" in text


DIFF = ModelDiff(
    models=("a model", "another model"),
    n_tokens=1000,
    n_latents={"shared": 12345, "only_a": 7},
    n_silent=3,
    figures=[
        *(figure(f"diff/{name}") for name in ("shared_share", "only_a_share", "shared_cosine")),
        failed("diff/only_a_specific_share"),
    ],
    most_specific={
        "only_a": [
            LatentDifference(
                latent=12345, relative_norm=0.125, cosine=-0.5, n_active=678, nu_error=0.25, nu_reconstruction=0.75
            )
        ],
        "only_b": [],
    },
)
FAR = Report(
    run="far",
    figures=[figure(LONG, unit="nats", null=0.125, controls=dict.fromkeys(map("control_{}".format, range(9)), 0.0625))],
    controls={f"control_{number}": [] for number in range(9)},
    verdicts=[],
    others={},
    stale={},
)
WHOLE = {
    "a report": (print_report, REPORT, (LONG, "0.5 nats", "0.25 … 0.75", "95 % interval", "1,234")),
    "nine controls": (print_report, FAR, (LONG, "control_3 0.0625", "control_8 0.0625", "n 1,234")),
    "a sweep": (print_sweep, SWEEP, ("● 0.5", "0.250 … 0.750", "loss recovered", "(control) pca-k8", "it diverged")),
    "stability": (print_sweep, SWEEP, ("topk/nearest_cosine", "not measured: no token was counted", "1,234")),
    "two models": (print_diff, DIFF, ("only_a", "12,345", "0.25 … 0.75", "nu reconstruction", "truly specific")),
}
"""What is shown, and what must stand in one piece where it does not fit."""


def shown_at(width, show, record) -> list[str]:
    """Lines on a terminal so wide."""
    text = printed(show, record, width=width, force_terminal=True, no_color=True)
    return re.sub(r"\x1b\[[\d;]*m", "", text).splitlines()


@pytest.mark.parametrize("width", [80, 60])
@pytest.mark.parametrize("what", WHOLE)
def test_what_does_not_fit_is_not_torn_apart(what, width):
    """Rows become paragraphs, where columns of a few characters broke every name and number."""
    show, record, parts = WHOLE[what]
    lines = shown_at(width, show, record)
    assert max(map(len, lines)) <= width
    for part in parts:
        assert any(part in line for line in lines), part


def test_a_pipe_is_wide():
    assert max(map(len, printed(print_report, REPORT, width=60).splitlines())) > 60
    (row,) = (line for line in printed(print_report, REPORT, width=60).splitlines() if LONG in line)
    assert "0.25 … 0.75" in row and "1,234" in row


def test_a_name_longer_than_a_line_is_folded():
    lines = shown_at(40, print_report, REPORT)
    assert LONG in "".join(lines) and max(map(len, lines)) <= 40
