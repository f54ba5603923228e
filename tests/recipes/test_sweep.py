"""Sweeps: many dictionaries from one reading, each what it would be alone, and their report."""

import json
import multiprocessing

import numpy as np
import pytest
import torch

from sparselex.activations.prefetch import PrefetchedUnits
from sparselex.atlas.fronts import fronts_of, remarks_on
from sparselex.atlas.records import SweepReport, SweepRow
from sparselex.base.errors import UserError
from sparselex.base.figures import Figure
from sparselex.base.workspace import Workspace
from sparselex.cli.tables import print_sweep
from sparselex.dictionaries.files import load_dictionary
from sparselex.evaluate.rows import rows_to_judge
from sparselex.recipes.run import Run
from sparselex.recipes.stages.sweep import SWEPT, Sweep
from sparselex.recipes.work.choices import train_config
from sparselex.recipes.work.sweep import members_of, use
from sparselex.server.app import create_app
from sparselex.training.config import TrainConfig
from tests.support.contents import contents
from tests.support.small import small_run

pytestmark = pytest.mark.slow

HOOKS = ("blocks.0.mlp.hook_post", "blocks.0.hook_resid_post")
STAGE = Sweep(
    kinds=("batchtopk", "relu"),
    expansions=(0.5,),
    ks=(4, 8),
    l1s=(5.0,),
    seeds=(0, 1),
    hooks=HOOKS,
    n_tokens=20_000,
    n_rows=20,
    moment_rows=40,
    options={},
)


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    run = small_run(tmp_path_factory.mktemp("sweep"))
    return run, run.do(STAGE)


def test_every_combination_is_there_with_its_figures(swept):
    run, found = swept
    assert len(found.rows) == len(HOOKS) * (2 + 1) * 2
    assert [row.name for row in found.rows] == [member.name for member in members_of(run, STAGE)]
    for row in found.rows:
        assert row.failure is None and row.value("core/l0") > 0 and (run.folder / SWEPT / row.name).is_dir()
    wide = {row.hook: load_dictionary(run.folder / SWEPT / row.name).d_in for row in found.rows}
    assert wide == {HOOKS[0]: 512, HOOKS[1]: 128}
    assert {name.rpartition("/")[0] for name in found.controls} == set(HOOKS)


def test_its_figures_equal_a_direct_look(swept):
    run, found = swept
    row = found.rows[0]
    dictionary = load_dictionary(run.folder / SWEPT / row.name)
    rows = rows_to_judge(run.corpus, 20)
    tokens = torch.from_numpy(np.asarray(run.corpus.tokens[rows]).astype(np.int64))
    text = torch.from_numpy(run.corpus.text_mask(rows))
    x = run.model.run(tokens, read=[row.hook], logits=False).values[row.hook][text]
    assert row.value("core/l0") == pytest.approx(float((dictionary.encode(x) != 0).sum()) / len(x), rel=1e-6)
    fvu = float((dictionary(x) - x).square().sum() / (x - x.mean(0)).square().sum())
    assert row.value("core/fvu") == pytest.approx(fvu, rel=1e-4)


def test_values_go_to_the_types_that_take_them(swept):
    """An option of one type, amounts of the others: each member has what its type knows, and the rest is no error."""
    run, _ = swept
    config = Sweep(
        kinds=("topk", "relu", "jumprelu"),
        ks=(4, 8),
        l1s=(5.0, 6.0),
        selection="float32",
        expansions=(0.5,),
        options={"convention": "2023", "warmup_share": 0.1},
    )
    found = {member.name: train_config(run, member.choice).dictionary.to_json() for member in members_of(run, config)}
    assert list(found) == [
        "topk-x0.5-k4-s0",
        "topk-x0.5-k8-s0",
        "relu-x0.5-l1-5-s0",
        "relu-x0.5-l1-6-s0",
        "jumprelu-x0.5-k4-s0",
        "jumprelu-x0.5-k8-s0",
    ]
    relu, jump = found["relu-x0.5-l1-6-s0"], found["jumprelu-x0.5-k8-s0"]
    assert (relu["convention"], relu["warmup_share"], relu["l1"]) == ("2023", 0.1, 6.0)
    assert (jump["target_l0"], jump["warmup_share"], found["topk-x0.5-k4-s0"]["selection"]) == (8, 0.1, "float32")
    names = [member.name for member in members_of(run, Sweep(kinds=("topk", "relu")))]
    assert names == ["topk-x8-k16-s0", "topk-x8-k32-s0", "topk-x8-k64-s0", "relu-x8-s0"]
    (member,) = members_of(run, Sweep(kinds=("jumprelu",), options={"target_l0": 20}))
    assert train_config(run, member.choice).dictionary.target_l0 == 20, "a number among the options is the only one"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kinds": ("relu", "gated"), "ks": (4,)}, "type relu and gated have no such setting"),
        ({"kinds": ("topk",), "l1s": (4.0,)}, "l1 with relu, gated, panneal"),
        ({"kinds": ("relu", "jumprelu"), "selection": "float32"}, "selection='float32' was given"),
        ({"kinds": ("topk", "batchtopk"), "options": {"convention": "2023"}}, "convention with relu"),
        ({"kinds": ("topk",), "ks": (4,), "options": {"k": 3}}, "k is given twice"),
    ],
)
def test_what_fits_none_of_the_types_is_refused_before_anything_is_written(values, message, tmp_path):
    run = small_run(tmp_path)
    with pytest.raises(UserError, match=message):
        run.do(Sweep(**values))
    assert [path.name for path in run.workspace.path.rglob("*")] == ["sparselex.json"]


def test_a_member_is_what_it_would_be_alone(swept, tmp_path):
    """One hook and one member, on the same stream: the same bytes as among twelve."""
    run, _ = swept
    alone = Run(Workspace.create(tmp_path / "w"), "main", run.config)
    alone.do(
        STAGE.model_copy(update={"hooks": HOOKS[:1], "kinds": ("batchtopk",), "ks": (8,), "l1s": (), "seeds": (1,)}),
    )
    one = alone.folder / SWEPT / "batchtopk-x0.5-k8-s1"
    among = run.folder / SWEPT / f"{HOOKS[0]}-batchtopk-x0.5-k8-s1"
    assert (one / "sae_weights.safetensors").read_bytes() == (among / "sae_weights.safetensors").read_bytes()


def test_read_ahead_it_ends_in_the_same_bytes(swept, tmp_path, monkeypatch):
    """Two hooks at once, members and manifests alike."""
    run, _ = swept
    started, start = [], PrefetchedUnits._start
    monkeypatch.setattr(PrefetchedUnits, "_start", lambda self: started.append(self.ahead) or start(self))
    ahead = Run(Workspace.create(tmp_path / "w"), "main", run.config)
    found = ahead.do(
        STAGE.model_copy(update={"kinds": ("batchtopk",), "ks": (8,), "l1s": (), "seeds": (1,), "prefetch": 2})
    )
    assert started == [2] and not multiprocessing.active_children() and len(found.rows) == 2
    for row in found.rows:
        assert contents(run.folder / SWEPT / row.name) == contents(ahead.folder / SWEPT / row.name)


def test_again_nothing_is_made(swept, monkeypatch):
    run, found = swept
    monkeypatch.setattr("sparselex.recipes.work.sweep.sweep_report", None)
    assert run.do(STAGE) == found
    (run.folder / "tickets.json").unlink()
    assert run.do(STAGE) == found, "and without the ticket, by what the artifacts say"


def test_stability_is_reported_for_equal_settings(swept):
    names = {figure.name for figure in swept[1].stability}
    assert len(names) == len(HOOKS) * 3 * 3 and any("relu-x0.5-l1-5/shared_share" in name for name in names)


def test_fronts():
    def row(name, l0, fvu, hook="a", setting=None, seed=0):
        figures = [
            {"name": f"core/{key}", "value": value, "definition": "x"}
            for key, value in (("l0", l0), ("fvu", fvu), ("loss_recovered_mean", 1 - fvu))
        ]
        return SweepRow.parse(
            {"name": name, "hook": hook, "settings": {"of": setting or name}, "seed": seed, "figures": figures}
        )

    rows = [
        row("sparse", 4, 0.5),
        row("worse", 5, 0.6),
        row("dense", 9, 0.2),
        row("same", 9, 0.2),
        row("elsewhere", 8, 0.9, "b"),
        *(row(f"lucky{seed}", 6, 0.4 + 0.01 * seed, setting="seeds", seed=seed) for seed in range(3)),
        row("within noise", 6.5, 0.415),
        row("beyond noise", 6.5, 0.45),
        *(row(f"as noisy{seed}", 6.5, 0.4 + 0.011 * seed, setting="noisy", seed=seed) for seed in range(3)),
    ]
    fronts = {r.name: fronts_of(r, rows) for r in rows}
    both = ["core/fvu", "core/loss_recovered_mean"]
    assert fronts == {"sparse": both, "worse": [], "dense": both, "same": both, "elsewhere": both} | {
        **{f"lucky{seed}": both for seed in range(3)},
        "within noise": both,
        "beyond noise": [],
        **{f"as noisy{seed}": both for seed in range(3)},
    }


def test_principal_components_that_beat_a_setting_are_remarked_on():
    def figures(fvu, recovered, margin=0.01):
        values = {"core/l0": 8, "core/fvu": fvu, "core/loss_recovered_mean": recovered}
        return [
            Figure(name=name, value=value, ci_low=value - margin, ci_high=value + margin, definition="x")
            for name, value in values.items()
        ]

    rows = [
        SweepRow(name=f"topk-k8-s{seed}", hook="a", settings={}, seed=seed, figures=figures(0.06 + 0.001 * seed, 0.973))
        for seed in range(2)
    ]
    assert remarks_on(rows, {"a/pca:topk-k8": figures(0.03, 0.979)}) == [
        "Principal components at the same L0 beat topk-k8 at a: fvu 0.0300 against 0.0600."
    ]
    assert remarks_on(rows, {"a/pca:topk-k8": figures(0.055, 0.9), "b/pca:topk-k8": figures(0.01, 1.0)}) == []


def test_one_of_them_becomes_a_run(swept):
    run, found = swept
    row = found.rows[-1]
    new = use(run, row.name, "chosen")
    assert new.sites.names() == {"hook": row.hook} and load_dictionary(new.folder / "dictionary").d_in == 128
    assert new.do("index").d_sae == 64
    for other in found.rows[::2]:  # its configuration is the one it was trained with
        made = use(run, other.name, f"as-{found.rows.index(other)}")
        assert train_config(made, made.stage("train").choice) == TrainConfig.parse(made.manifest("dictionary").config)
    assert use(run, row.name, "chosen").name == "chosen", "made already"
    with pytest.raises(UserError, match="There is a run 'chosen' already"):
        use(run, found.rows[0].name, "chosen")
    for name in ("nonsense", "../dictionary"):
        with pytest.raises(UserError, match=f"has no dictionary '{name}'(?s:.*)one of .*{row.name}"):
            use(run, name, "other")


def test_the_browser_and_the_terminal_show_it(swept, capsys):
    from fastapi.testclient import TestClient

    run, found = swept
    page = TestClient(create_app(run.workspace), base_url="http://127.0.0.1").get("/")
    assert page.status_code == 200 and "Sweep of main" in page.text
    for row in found.rows:
        assert row.name in page.text
    assert "<circle" in page.text and "stability between seeds" in page.text
    print_sweep(found)
    assert "loss recovered" in capsys.readouterr().out
    written = json.loads((run.folder / "sweep" / "sweep.json").read_text())
    assert SweepReport.parse(written) == found
