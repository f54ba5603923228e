"""Transcoders and crosscoders through every stage: text, model, training, index, explanation, evaluation, pages."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from fastapi.testclient import TestClient
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GPTNeoXConfig
from typer.testing import CliRunner

from sparselex.activations.live import Reader
from sparselex.base.artifacts import read_json, write_json
from sparselex.base.errors import UserError
from sparselex.base.sites import Mask
from sparselex.base.workspace import Workspace
from sparselex.cli.main import app
from sparselex.convert.doors import export_dictionary, import_dictionary
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.dictionaries.files import load_dictionary
from sparselex.dictionaries.table import new_dictionary
from sparselex.dictionaries.types.clt import CrossLayerTranscoder
from sparselex.dictionaries.types.relu import ReLUConfig
from sparselex.evaluate.core import core_sums, moments
from sparselex.evaluate.core_figures import core_figures
from sparselex.evaluate.report import report, write_report
from sparselex.features.build import _written
from sparselex.features.config import IndexConfig
from sparselex.lm.config import ModelConfig
from sparselex.lm.embedded import EMBEDDED
from sparselex.lm.pair import ModelPair
from sparselex.lm.subject import load_model
from sparselex.recipes.pipeline import Pipeline
from sparselex.recipes.run import TrainingChoice, new_run
from sparselex.server.app import create_app
from tests.support.small import build_all, write_documents

IN, OUT = "blocks.0.hook_mlp_in", "blocks.0.hook_mlp_out"


def run_of(tmp_path, training, **options):
    text = write_documents(tmp_path / "text")
    config = new_run("embedded", str(text), n_ctx=64, **options).model_copy(update={"training": training})
    return Workspace.create(tmp_path / "w"), config


def assert_effects(pipeline, rows, readout, label):
    """The index promotes the tokens that a direct product names, and says of which site."""
    index, logits = pipeline.index(), readout.logits(rows)
    for latent in (0, len(rows) // 2, len(rows) - 1):
        found = index.record(latent)
        for effects, sign in ((found.logits_top, 1), (found.logits_bottom, -1)):
            expected = sign * (sign * logits[latent]).topk(len(effects)).values
            torch.testing.assert_close(
                torch.tensor([effect.value for effect in effects]), expected, rtol=1e-4, atol=1e-5
            )
            tokens = torch.tensor([effect.token for effect in effects])
            torch.testing.assert_close(logits[latent, tokens], expected, rtol=1e-4, atol=1e-5)
    page = TestClient(create_app(pipeline.workspace)).get("/runs/main/features/0").text
    assert label in page and "raises" in page


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_transcoder_goes_through_every_stage(tmp_path, dtype):
    training = TrainingChoice(expansion=2, k=8, n_tokens=60_000, skip=True)
    workspace, config = run_of(tmp_path, training, hook=IN, target=OUT, cached=True, shard_dtype=dtype)
    pipeline = build_all(workspace, config)
    store = pipeline.harvest()
    batch = store.shard(0)
    direct = Reader(pipeline.model, pipeline.corpus, IN, Mask(), target=OUT).read(
        torch.arange(pipeline.corpus.row_ranges["train"].start, pipeline.corpus.row_ranges["train"].stop).numpy()
    )
    bound = 0 if dtype == "float32" else float(direct.target.abs().max()) / 250
    torch.testing.assert_close(batch.target, direct.target[: len(batch.target)], rtol=0, atol=bound)
    dictionary = load_dictionary(pipeline.folder / "dictionary")
    assert (dictionary.d_in, dictionary.d_out) == (128, 128) and not dictionary.is_autoencoder
    assert pipeline.manifest("dictionary").inputs["target"] == OUT
    values = {figure.name: figure for figure in pipeline.evaluate().figures}
    assert values["core/loss_recovered_mean"].value > 0.5 and values["core/fvu"].value < 0.9
    page = TestClient(create_app(workspace)).get("/runs/main/features/0")
    assert page.status_code == 200 and "not write to the residual stream" not in page.text


def test_a_transcoder_is_judged_where_it_writes(tmp_path):
    """Reading the MLP's input and giving its exact output loses nothing; giving zeros is zero ablation of the
    output."""
    workspace, config = run_of(tmp_path, TrainingChoice(), hook=IN, target=OUT)
    pipeline = Pipeline(workspace, "main", config)
    reader = Reader(pipeline.model, pipeline.corpus, IN, Mask(), target=OUT, batch_rows=8)
    block = pipeline.model.hf.get_submodule("gpt_neox.layers.0")

    class Exact(Dictionary):
        d_in = d_out = d_sae = 128
        b_dec = torch.zeros(128)

        def encode(self, x):
            return x

        def reconstruct(self, x, codes):
            return block.mlp(x)

    class Zero(Exact):
        def reconstruct(self, x, codes):
            return torch.zeros_like(x)

    mean, _ = moments(reader, 64)
    rows = torch.arange(pipeline.corpus.row_ranges["test"].start, pipeline.corpus.row_ranges["test"].stop).numpy()
    with torch.no_grad():
        sums = core_sums(reader, {"exact": Exact(), "zero": Zero()}, mean, rows)
    found = {name: {f.name: f.value for f in core_figures(part[0])} for name, part in sums.items()}
    assert abs(found["exact"]["core/loss_recovered_mean"] - 1) < 1e-4 and found["exact"]["core/fvu"] < 1e-6
    assert abs(found["zero"]["core/loss_recovered_zero"]) < 1e-6


def test_a_crosscoder_of_two_sites_goes_through_every_stage(tmp_path):
    hook = "blocks.0.hook_resid_pre+blocks.0.mlp.hook_post"
    workspace, config = run_of(tmp_path, TrainingChoice(expansion=0.4, k=8, n_tokens=60_000), hook=hook)
    pipeline = build_all(workspace, config)
    dictionary = load_dictionary(pipeline.folder / "dictionary")
    assert dictionary.parts_in == (128, 512) and dictionary.part_norms().shape == (2, 256)
    values = {figure.name: figure for figure in pipeline.evaluate().figures}
    sites = [f"core/embedded:{site}/loss_recovered_mean" for site in hook.split("+")]
    assert set(sites) < set(values)
    # One site after another is spliced; the figure of the whole is their average.
    for name in ("fvu", "ce_increase"):
        parts = [values[site.replace("loss_recovered_mean", name)].value for site in sites]
        assert values[f"core/{name}"].value == pytest.approx(sum(parts) / 2, rel=0.25)
    write_report(workspace)
    client = TestClient(create_app(workspace))
    assert client.get("/").status_code == 200 and client.get("/runs/main/features/0").status_code == 200
    written = dictionary.W_dec[:, 128:]
    assert_effects(
        pipeline, written, pipeline.model.readout("blocks.0.mlp.hook_post"), "embedded:blocks.0.mlp.hook_post"
    )


def test_a_crosscoder_of_two_models_goes_through_every_stage(tmp_path):
    workspace, config = run_of(
        tmp_path, TrainingChoice(kind="relu", l1=2, expansion=0.3, n_tokens=60_000), hook=OUT, second_model="embedded-b"
    )
    pipeline = build_all(workspace, config)
    assert isinstance(pipeline.model, ModelPair)
    dictionary = load_dictionary(pipeline.folder / "dictionary")
    assert dictionary.parts_in == (128, 128)
    values = {figure.name: figure for figure in pipeline.evaluate().figures}
    assert values[f"core/embedded:{OUT}/l0"].value == values[f"core/embedded-b:{OUT}/l0"].value
    ce = [values[f"core/{name}:{OUT}/ce_loss"].value for name in ("embedded", "embedded-b")]
    assert ce[0] != ce[1] and values["core/ce_loss"].value == pytest.approx(sum(ce) / 2)
    assert_effects(pipeline, dictionary.W_dec[:, 128:], pipeline.model.second.readout(OUT), f"embedded-b:{OUT}")
    compare_models(workspace, pipeline, dictionary)


def compare_models(workspace, pipeline, dictionary):
    """`sparselex diff` on a finished run of two models: the summary, the table, the report, and nothing done twice."""
    write_report(workspace)
    found = pipeline.diff()
    assert found.models == ("embedded", "embedded-b")
    assert sum(found.n_latents.values()) + found.n_silent == dictionary.d_sae == 77
    shares = {figure.name: figure for figure in found.figures}
    assert sum(shares[f"diff/{name}_share"].value for name in found.n_latents) == pytest.approx(1)
    rows = pq.read_table(pipeline.folder / "diff" / "latents.parquet").to_pylist()
    for name, n in found.n_latents.items():
        assert sum(row["class"] == name and row["n_active"] > 0 for row in rows) == n
    norms = dictionary.part_norms()
    relative = (norms[1] / norms.sum(0)).tolist()
    assert [row["relative_norm"] for row in rows] == pytest.approx(relative, rel=1e-4)
    # Two networks trained apart, from other seeds: they have no directions in common.
    assert abs(shares["diff/shared_cosine"].value) < 0.4
    reported = {figure["name"] for figure in read_json(workspace.report)["figures"]}
    assert set(shares) <= reported
    result = CliRunner().invoke(app, ["diff", str(workspace.path)], env={"COLUMNS": "200"})
    assert result.exit_code == 0 and "only_b" in result.stdout and "latents.parquet" in result.stdout, result.output
    as_json = CliRunner().invoke(app, ["diff", str(workspace.path), "--json"])
    assert json.loads(as_json.stdout) == found.to_json()
    # A dictionary trained anew makes the comparison old: the report leaves it out.
    trained = pipeline.folder / "dictionary" / "manifest.json"
    write_json(trained, read_json(trained) | {"id": "another"})
    left = report(workspace)
    assert "diff" in left.stale and not {figure.name for figure in left.figures} & set(shares)


def test_models_of_one_run_are_not_compared(small_workspace):
    pipeline = Pipeline.open(small_workspace, "main")
    with pytest.raises(UserError, match="reads one model"):
        pipeline.diff()
    assert not (pipeline.folder / "diff").exists()


def test_a_pair_reads_what_each_model_reads():
    first, second = load_model("embedded"), load_model("embedded-b")
    pair, tokens = ModelPair(first, second), torch.randint(1, 4000, (2, 9), generator=torch.Generator().manual_seed(0))
    read = pair.read(tokens, [OUT])[OUT]
    assert pair.width(OUT) == 256 and torch.equal(read[..., :128], first.capture(tokens, [OUT])[OUT])
    assert torch.equal(read[..., 128:], second.capture(tokens, [OUT])[OUT])
    assert [place.columns for place in pair.places(f"{OUT}+{IN}")] == [slice(i, i + 128) for i in range(0, 512, 128)]
    joined = pair.read(tokens, [f"{OUT}+{IN}"])[f"{OUT}+{IN}"]
    for place in pair.places(f"{OUT}+{IN}"):
        assert torch.equal(joined[..., place.columns], place.model.capture(tokens, [place.hook])[place.hook])


def test_models_with_other_tokens_are_no_pair(shared_data):
    other = load_model(str(next((shared_data / "lm").glob("*/config.json")).parent))
    with pytest.raises(UserError, match="split text into different tokens"):
        ModelPair(load_model("embedded"), other)


def test_a_transcoder_has_as_many_sites_on_either_side(tmp_path):
    workspace, config = run_of(tmp_path, TrainingChoice(), hook=f"{IN}+{OUT}", target=OUT)
    with pytest.raises(UserError, match="leave --target out"):
        Pipeline(workspace, "main", config).train()
    pair = config.model_copy(update={"hook": IN, "second_model": ModelConfig(name="embedded-b")})
    with pytest.raises(UserError, match="one target of one model"):
        Pipeline(workspace, "main", pair).train()


@pytest.fixture(scope="module")
def three_layers(tmp_path_factory) -> str:
    """A model of three layers, drawn at random, with the embedded model's tokenizer."""
    folder = tmp_path_factory.mktemp("three")
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=load_model("embedded").n_vocab,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=64,
        initializer_range=0.2,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(EMBEDDED["embedded"]).save_pretrained(folder)
    return str(folder)


INS, OUTS = ("+".join(f"blocks.{layer}.{site}" for layer in range(3)) for site in ("hook_mlp_in", "hook_mlp_out"))


def test_a_cross_layer_transcoder_goes_through_every_stage(tmp_path, three_layers):
    text = write_documents(tmp_path / "text")
    training = TrainingChoice(kind="clt", expansion=2.1, k=9, n_tokens=60_000)
    config = new_run(three_layers, str(text), n_ctx=64, hook=INS, target=OUTS, cached=True)
    workspace = Workspace.create(tmp_path / "w")
    pipeline = build_all(workspace, config.model_copy(update={"training": training}))
    store = pipeline.harvest()
    assert (store.d_in, store.d_out) == (96, 96)
    dictionary = load_dictionary(pipeline.folder / "dictionary")
    assert isinstance(dictionary, CrossLayerTranscoder) and dictionary.d_sae == 3 * 67
    assert dictionary.parts_in == dictionary.parts_out == (32, 32, 32)
    manifest = pipeline.manifest("dictionary")
    assert (manifest.inputs["hook"], manifest.inputs["target"]) == (INS, OUTS) and len(
        manifest.notes["target_scales"]
    ) == 3
    values = {figure.name: figure.value for figure in pipeline.evaluate().figures}
    for site in OUTS.split("+"):
        assert values[f"core/{three_layers}:{site}/fvu"] < 0.6
        assert values[f"core/{three_layers}:{site}/l0"] == pytest.approx(9, rel=0.2)
    write_report(workspace)
    client = TestClient(create_app(workspace))
    assert client.get("/").status_code == 200 and client.get("/runs/main/features/200").status_code == 200
    written = sum(dictionary.W_dec.split(32, dim=-1))
    assert_effects(
        pipeline, written, pipeline.model.readout("blocks.2.hook_resid_post"), "written to the 3 sites together"
    )


@pytest.mark.parametrize(
    ("hook", "last"),
    [
        ("blocks.2.hook_resid_post+blocks.0.hook_resid_post", "blocks.2.hook_resid_post"),
        ("blocks.0.hook_resid_pre+blocks.1.mlp.hook_post+blocks.2.hook_mlp_in", "blocks.1.mlp.hook_post"),
        ("blocks.0.hook_mlp_in+blocks.1.attn.hook_q", None),
    ],
)
def test_logit_effects_are_of_the_last_site_that_writes_to_the_stream(three_layers, hook, last):
    """Last in the forward pass, wherever it is named; sites that do not write to the stream are passed over."""
    model = load_model(three_layers)
    W_dec = torch.randn(5, model.width(hook), generator=torch.Generator().manual_seed(0))
    if last is None:
        with pytest.raises(UserError, match="None of the sites writes to the residual stream"):
            _written(model, W_dec, IndexConfig(hook=hook))
        return
    rows, readout, which = _written(model, W_dec, IndexConfig(hook=hook))
    columns = {place.hook: place.columns for place in model.places(hook)}[last]
    assert torch.equal(rows, W_dec[:, columns]) and f":{last}," in which
    assert torch.equal(readout.unembed, model.readout(last).unembed)


def test_each_site_of_a_cross_layer_transcoder_is_spliced_alone_from_the_undisturbed_model(tmp_path, three_layers):
    """One that gives the last site exactly and zeros at the others loses nothing there and everything zero ablation
    loses elsewhere."""
    text = write_documents(tmp_path / "text")
    config = new_run(three_layers, str(text), n_ctx=64, hook=INS, target=OUTS)
    pipeline = Pipeline(Workspace.create(tmp_path / "w"), "main", config)
    reader = Reader(pipeline.model, pipeline.corpus, INS, Mask(), target=OUTS, batch_rows=8)
    mlp = pipeline.model.hf.get_submodule("gpt_neox.layers.2.mlp")

    class LastAlone(Dictionary):
        d_in = d_out = d_sae = 96
        b_dec = torch.zeros(96)

        def encode(self, x):
            return x

        def reconstruct(self, x, codes):
            return torch.cat([torch.zeros_like(x[:, :64]), mlp(x[:, 64:])], dim=-1)

    mean, _ = moments(reader, 64)
    test = pipeline.corpus.row_ranges["test"]
    with torch.no_grad():
        sites = core_sums(reader, {"it": LastAlone()}, mean, torch.arange(test.start, test.stop).numpy())["it"]
    found = [{figure.name: figure.value for figure in core_figures(site)} for site in sites]
    assert found[2]["core/fvu"] < 1e-6 and abs(found[2]["core/loss_recovered_mean"] - 1) < 1e-3
    assert max(abs(site["core/loss_recovered_zero"]) for site in found[:2]) < 1e-6


@pytest.mark.parametrize(
    ("hook", "target", "choice", "message"),
    [
        (INS, OUTS, {"kind": "batchtopk"}, "train with --kind clt"),
        (INS, None, {"kind": "clt"}, "as many targets"),
        (INS.split("+")[0], OUTS.split("+")[0], {"kind": "clt"}, "two or more hooks"),
        ("+".join(reversed(INS.split("+"))), OUTS, {"kind": "clt"}, "order of the forward pass"),
        (INS, "+".join([OUTS.split("+")[0]] * 3), {"kind": "clt"}, "each site once"),
        (INS, OUTS, {"kind": "clt", "skip": True}, "type clt have no such setting"),
    ],
)
def test_what_is_no_cross_layer_transcoder_is_refused(tmp_path, three_layers, hook, target, choice, message):
    config = new_run(three_layers, str(write_documents(tmp_path / "text")), n_ctx=64, hook=hook, target=target)
    with pytest.raises(UserError, match=message):
        Pipeline(Workspace.create(tmp_path / "w"), "main", config).train_config(TrainingChoice(**choice))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A skip transcoder trained here, in three layouts, and the run that it came from."""
    tmp_path = tmp_path_factory.mktemp("exported")
    training = TrainingChoice(kind="jumprelu", expansion=1, k=8, n_tokens=40_000, skip=True)
    workspace, config = run_of(tmp_path, training, hook=IN, target=OUT)
    pipeline = Pipeline(workspace, "main", config)
    pipeline.train()
    for layout in ("saelens", "circuit-tracer"):
        pipeline.export_dictionary(tmp_path / layout, layout)
    weights = load_file(tmp_path / "saelens" / "sae_weights.safetensors")
    (tmp_path / "gemma").mkdir()
    names = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")
    np.savez(tmp_path / "gemma" / "params.npz", **{name: weights[name].numpy() for name in names})
    return tmp_path, pipeline


@pytest.mark.parametrize("layout", ["saelens", "circuit-tracer"])
def test_an_imported_transcoder_is_indexed_and_evaluated(layout, exported, tmp_path):
    folder, origin = exported
    _, config = run_of(tmp_path, TrainingChoice())
    pipeline = Pipeline(Workspace.create(tmp_path / "w"), "main", config)
    pipeline.import_dictionary(folder / layout)
    pipeline = Pipeline.open(pipeline.workspace, "main")
    assert (pipeline.config.hook, pipeline.config.target) == (IN, OUT), "the files name both"
    assert pipeline.manifest("dictionary").inputs["target"] == OUT
    x = torch.randn(30, 128, generator=torch.Generator().manual_seed(0))
    there, here = (load_dictionary(run.folder / "dictionary") for run in (origin, pipeline))
    torch.testing.assert_close(here(x), there(x), rtol=1e-4, atol=1e-4)
    pipeline.index()
    values = {figure.name: figure.value for figure in pipeline.evaluate().figures}
    assert values["core/loss_recovered_mean"] > 0.3 and values["core/fvu"] < 1
    pipeline.export_dictionary(tmp_path / "again", layout)
    assert import_dictionary(tmp_path / "again").target == OUT


def test_a_transcoder_whose_files_name_no_target_is_given_one(exported, tmp_path):
    folder, origin = exported
    workspace, config = run_of(tmp_path, TrainingChoice(), hook=IN, target=OUT)
    pipeline = Pipeline(workspace, "main", config)
    pipeline.import_dictionary(folder / "gemma")
    there, here = (load_dictionary(run.folder / "dictionary") for run in (origin, pipeline))
    assert not here.is_autoencoder and pipeline.manifest("dictionary").inputs["target"] == OUT
    x = torch.randn(30, 128, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(here(x), there(x) - there.bypass(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("nameless", {"hook": IN}, "name it with --target"),
        ("nameless", {"target": OUT}, "do not say which hook it reads"),
        (
            "nameless",
            {"hook": IN, "target": "blocks.0.mlp.hook_post"},
            "has width 512, and the dictionary writes width 128",
        ),
        (
            "nameless",
            {"hook": "blocks.0.mlp.hook_post", "target": OUT},
            "has width 512, and the dictionary reads width 128",
        ),
        ("autoencoder", {"hook": IN, "target": OUT}, "leave --target out"),
        ("nameless", {"hook": f"{IN}+{OUT}", "target": OUT}, "reads 2 sites and writes 1"),
    ],
    ids=range(6),
)
def test_targets_that_do_not_fit_are_refused(kind, options, words, tmp_path):
    config = ReLUConfig(d_in=128, d_sae=16, d_out=128 if kind == "nameless" else None)
    if "+" in options.get("hook", ""):
        config = config.model_copy(update={"d_in": 256})
    export_dictionary(new_dictionary(config), tmp_path / "d", "saelens")
    workspace, run = run_of(tmp_path, TrainingChoice(), **options)
    with pytest.raises(UserError, match=words):
        Pipeline(workspace, "main", run).import_dictionary(tmp_path / "d")
    assert not (workspace.run("main") / "run.json").exists()
