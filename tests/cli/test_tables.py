"""Tables on the console: what was not measured is said, and a pipe has room for all columns."""

import io

import pytest
from rich.console import Console

from sparselex.atlas.records import SweepReport, SweepRow
from sparselex.base.figures import Figure
from sparselex.cli.tables import WIDTH, interval, number, print_report, print_sweep
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
    stale=["diff"],
)


def test_a_report_has_every_part_of_a_figure():
    text = printed(print_report, REPORT)
    assert text.startswith("Is it so? It is.\n    a figure 0.5\n")
    for part in (LONG, "0.5 nats", "0.25 … 0.75", "0.125", "0.0625", "1,234", "wide, beside its controls"):
        assert part in text, part
    assert text.index("drawn") < text.index("pca"), "twins first, as in the report"
    row = next(line for line in text.splitlines() if "core/kl" in line)
    assert "not measured" in row and "nats" not in row
    assert "Clearly different." in text and "no controls of this one: main." in text and "has now: diff." in text


def test_a_pipe_is_wide_and_a_terminal_is_not():
    assert max(map(len, printed(print_report, REPORT, width=60).splitlines())) > 60
    narrow = printed(print_report, REPORT, width=60, force_terminal=True, no_color=True).splitlines()
    assert WIDTH > 60 and not any(LONG in line for line in narrow), "folded, not cut"
    assert "".join(line[1:].partition("│")[0].strip() for line in narrow if line.startswith("│")).startswith(LONG)


@pytest.mark.parametrize(("low", "high"), [(None, 1.0), (0.0, None), (None, None)])
def test_half_an_interval_is_none(low, high):
    assert interval(figure("x", low=low, high=high)) == ""


def test_numbers():
    assert number(None) == "" and number(None, missing="not measured") == "not measured"
    assert number(0.123456) == "0.1235" and number(0.123456, 3) == "0.123"


def test_a_sweep_shows_fronts_failures_and_controls():
    names = ("core/l0", "core/fvu", "core/loss_recovered_mean", "core/ce_increase")
    rows = [
        SweepRow(
            name="topk",
            hook="h",
            settings={},
            seed=0,
            figures=[*(figure(name) for name in names), figure("train/dead_share", 0.125)],
            fronts=["core/fvu"],
        ),
        SweepRow(name="relu", hook="h", settings={}, seed=0, failure="it diverged"),
    ]
    stability = [figure("stability/topk/nearest_cosine", null=0.0625), failed("stability/topk/matched_cosine")]
    found = SweepReport(rows=rows, controls={"h/pca-k8": [figure(name) for name in names]}, stability=stability)
    text = printed(print_sweep, found)
    (topk, control) = (next(line for line in text.splitlines() if name in line) for name in ("│ topk ", "pca-k8"))
    assert "● 0.5" in topk and "0.250 … 0.750" in topk and "0.125" in topk
    assert "(control) pca-k8" in control and "0.125" not in control and "0.250 … 0.750" in control
    assert "failed: it diverged" in text and "not measured: no token was counted" in text and "0.062" in text
