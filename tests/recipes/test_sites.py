"""Transcoders and crosscoders through every stage: text, model, training, index, explanation, evaluation, pages."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from fastapi.testclient import TestClient
from safetensors.torch import load_file
from transformers import GPTNeoXConfig

from sparselex.activations.live import Reader
from sparselex.base.errors import UserError
from sparselex.base.files import read_json
from sparselex.base.sites import Hook, Sites
from sparselex.base.workspace import Workspace
from sparselex.convert.doors import export_dictionary, import_dictionary
from sparselex.dictionaries.dictionary import Dictionary
from sparselex.dictionaries.files import load_dictionary
from sparselex.dictionaries.trainable import new_dictionary
from sparselex.dictionaries.types.clt import CrossLayerTranscoder
from sparselex.dictionaries.types.relu import ReLUConfig
from sparselex.evaluate.core import core_sums
from sparselex.evaluate.core_figures import core_figures
from sparselex.evaluate.moments import moments
from sparselex.evaluate.report import write_report
from sparselex.evaluate.subjects import Itself
from sparselex.features.build import ranked_tokens
from sparselex.features.stream import written_to_stream
from sparselex.lm.config import ModelConfig
from sparselex.lm.load import load_model
from sparselex.lm.pair import ModelPair
from sparselex.recipes.choice import TrainingChoice
from sparselex.recipes.config import new_run
from sparselex.recipes.run import Run
from sparselex.recipes.work.choices import train_config
from sparselex.server.app import create_app
from tests.support.command import done
from tests.support.small import build_all, shards, values_of, write_documents
from tests.support.subjects import saved

IN, OUT = "blocks.0.hook_mlp_in", "blocks.0.hook_mlp_out"


def run_of(tmp_path, training=None, model="embedded", **options):
    text = write_documents(tmp_path / "text")
    config = new_run(model, str(text), n_ctx=64, **options).with_stage("train", training or {})
    return Run.create(Workspace.create(tmp_path / "w"), "main", config)


def reader_of(run):
    return Reader(run.model, run.corpus, run.sites, batch_rows=8)


def assert_effects(run, rows, readout, label):
    """The index promotes the tokens that a direct product names, and says of which site."""
    index, logits = run.index, readout.logits(rows)
    ranked = torch.from_numpy(ranked_tokens(run.corpus, 1))
    logits = logits - logits[:, ranked[:: max(1, len(ranked) // 512)]].median(-1, keepdim=True).values
    for latent in (0, len(rows) // 2, len(rows) - 1):
        found = index.record(latent)
        for effects, sign in ((found.logits_top, 1), (found.logits_bottom, -1)):
            expected = sign * (sign * logits[latent, ranked]).topk(len(effects)).values
            torch.testing.assert_close(
                torch.tensor([effect.value for effect in effects]), expected, rtol=1e-4, atol=1e-5
            )
            tokens = torch.tensor([effect.token for effect in effects])
            torch.testing.assert_close(logits[latent, tokens], expected, rtol=1e-4, atol=1e-5)
    page = TestClient(create_app(run.workspace), base_url="http://127.0.0.1").get("/runs/main/features/0").text
    assert label in page and "raises" in page


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_a_transcoder_goes_through_every_stage(tmp_path, dtype):
    training = {"expansion": 2, "k": 8, "n_tokens": 60_000, "skip": True}
    run = run_of(tmp_path, training, hook=IN, target=OUT)
    store = run.do("harvest", dtype=dtype)
    build_all(run.workspace, run.config)
    batch = shards(store)[0]
    direct = run.reader.read(np.array(run.corpus.row_ranges["train"]))
    bound = 0 if dtype == "float32" else float(direct.target.abs().max()) / 250
    torch.testing.assert_close(batch.target, direct.target[: len(batch.target)], rtol=0, atol=bound)
    dictionary = load_dictionary(run.folder / "dictionary")
    assert (dictionary.d_in, dictionary.d_out) == (128, 128) and not dictionary.is_autoencoder
    assert run.manifest("dictionary").inputs["target"] == OUT
    values = values_of(run)
    assert values["core/loss_recovered_mean"] > 0.5 and values["core/fvu"] < 0.9
    page = TestClient(create_app(run.workspace), base_url="http://127.0.0.1").get("/runs/main/features/0")
    assert page.status_code == 200 and "not write to the residual stream" not in page.text


def test_a_transcoder_is_judged_where_it_writes(tmp_path):
    """Reading the MLP's input and giving its exact output loses nothing; giving zeros is zero ablation of the
    output."""
    run = run_of(tmp_path, hook=IN, target=OUT)
    reader = reader_of(run)
    block = run.model.hf.get_submodule("gpt_neox.layers.0")

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

    mean = moments(reader, 64).mean
    rows = np.array(run.corpus.row_ranges["test"])
    with torch.no_grad():
        sums = core_sums(reader, {"exact": Itself(Exact()), "zero": Itself(Zero())}, mean, rows)
    found = {name: {f.name: f.value for f in core_figures(part[0])} for name, part in sums.items()}
    assert abs(found["exact"]["core/loss_recovered_mean"] - 1) < 1e-4 and found["exact"]["core/fvu"] < 1e-6
    assert abs(found["zero"]["core/loss_recovered_zero"]) < 1e-6


@pytest.mark.slow
def test_a_crosscoder_of_two_sites_goes_through_every_stage(tmp_path):
    hook = "blocks.0.hook_resid_pre+blocks.0.mlp.hook_post"
    run = run_of(tmp_path, {"expansion": 0.4, "k": 8, "n_tokens": 60_000}, hook=hook)
    build_all(run.workspace, run.config)
    dictionary = load_dictionary(run.folder / "dictionary")
    assert dictionary.parts_in == (128, 512) and dictionary.part_norms().shape == (2, 256)
    values = values_of(run)
    sites = [f"core/embedded:{site}/loss_recovered_mean" for site in hook.split("+")]
    assert set(sites) < set(values)
    # One site after another is spliced; the figure of the whole is their average.
    for name in ("fvu", "ce_increase"):
        parts = [values[site.replace("loss_recovered_mean", name)] for site in sites]
        assert values[f"core/{name}"] == pytest.approx(sum(parts) / 2, rel=0.25)
    write_report(run.workspace)
    client = TestClient(create_app(run.workspace), base_url="http://127.0.0.1")
    assert client.get("/").status_code == 200 and client.get("/runs/main/features/0").status_code == 200
    written = dictionary.W_dec[:, 128:]
    assert_effects(run, written, run.model.readout(Hook("blocks.0.mlp.hook_post")), "embedded:blocks.0.mlp.hook_post")


@pytest.mark.slow
def test_a_crosscoder_of_two_models_goes_through_every_stage(tmp_path):
    training = {"kind": "relu", "l1": 2, "expansion": 0.3, "n_tokens": 60_000}
    run = run_of(tmp_path, training, hook=OUT, second_model="embedded-b")
    build_all(run.workspace, run.config)
    assert isinstance(run.model, ModelPair)
    dictionary = load_dictionary(run.folder / "dictionary")
    assert dictionary.parts_in == (128, 128)
    values = values_of(run)
    assert values[f"core/embedded:{OUT}/l0"] == values[f"core/embedded-b:{OUT}/l0"]
    ce = [values[f"core/{name}:{OUT}/ce_loss"] for name in ("embedded", "embedded-b")]
    assert ce[0] != ce[1] and values["core/ce_loss"] == pytest.approx(sum(ce) / 2)
    assert_effects(run, dictionary.W_dec[:, 128:], run.model.second.readout(Hook(OUT)), f"embedded-b:{OUT}")
    compare_models(run, dictionary)


def compare_models(run, dictionary):
    """`sparselex diff` on a finished run of two models: the summary, the table, the report, and nothing done twice."""
    write_report(run.workspace)
    found = run.do("diff")
    assert found.models == ("embedded", "embedded-b")
    assert sum(found.n_latents.values()) + found.n_silent == dictionary.d_sae == 77
    shares = {figure.name: figure for figure in found.figures}
    assert sum(shares[f"diff/{name}_share"].value for name in found.n_latents) == pytest.approx(1)
    rows = pq.read_table(run.folder / "diff" / "latents.parquet").to_pylist()
    for name, n in found.n_latents.items():
        assert sum(row["class"] == name and row["n_active"] > 0 for row in rows) == n
    norms = dictionary.part_norms()
    relative = (norms[1] / norms.sum(0)).tolist()
    assert [row["relative_norm"] for row in rows] == pytest.approx(relative, rel=1e-4)
    # Two networks trained apart, from other seeds: they have no directions in common.
    assert abs(shares["diff/shared_cosine"].value) < 0.4
    reported = {figure["name"] for figure in read_json(run.workspace.report)["figures"]}
    assert set(shares) <= reported
    shown = done("diff", run.workspace.path)
    assert "only_b" in shown.out and "latents.parquet" in shown.out
    assert done("diff", run.workspace.path, "--json").json == found.to_json()
    # A dictionary trained anew makes the comparison old: the report leaves it out.
    run.do("train", kind="relu", l1=3, expansion=0.3, n_tokens=60_000, replace=True)
    run.do("index")
    run.do("evaluate")
    assert not {figure.name for figure in write_report(run.workspace).figures} & set(shares)


def test_models_of_one_run_are_not_compared(small_workspace):
    run = Run.open(small_workspace)
    with pytest.raises(UserError, match="reads one model"):
        run.do("diff")
    assert not (run.folder / "diff").exists()


def test_a_pair_reads_what_each_model_reads():
    first, second = load_model("embedded"), load_model("embedded-b")
    pair, tokens = ModelPair(first, second), torch.randint(1, 4000, (2, 9), generator=torch.Generator().manual_seed(0))
    here, there = Hook(OUT), Hook(IN)
    read = pair.read(tokens, [here, there])
    for hook in (here, there):
        alone = [model.read(tokens, [hook])[hook] for model in (first, second)]
        assert pair.width(hook) == 256 and torch.equal(read[hook], torch.cat(alone, dim=-1))
    assert [place.columns for place in pair.places([here, there])] == [slice(i, i + 128) for i in range(0, 512, 128)]


def test_models_with_other_tokens_are_no_pair(shared_data):
    other = load_model(str(next((shared_data / "lm").glob("*/config.json")).parent))
    with pytest.raises(UserError, match="split text into different tokens"):
        ModelPair(load_model("embedded"), other)


def test_a_transcoder_has_as_many_sites_on_either_side(tmp_path):
    run = run_of(tmp_path, hook=f"{IN}+{OUT}", target=OUT)
    with pytest.raises(UserError, match="leave --target out"):
        run.do("train")
    pair = run.config.model_copy(update={"hook": IN, "second_model": ModelConfig(name="embedded-b")})
    with pytest.raises(UserError, match="one target of one model"):
        Run(run.workspace, "main", pair).do("train")


@pytest.fixture(scope="module")
def three_layers(tmp_path_factory) -> str:
    """A model of three layers, drawn at random, with the embedded model's tokenizer."""
    config = GPTNeoXConfig(
        vocab_size=load_model("embedded").n_vocab,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=64,
        initializer_range=0.2,
    )
    return saved(tmp_path_factory.mktemp("three"), config)


INS, OUTS = ("+".join(f"blocks.{layer}.{site}" for layer in range(3)) for site in ("hook_mlp_in", "hook_mlp_out"))


@pytest.mark.slow
def test_a_cross_layer_transcoder_goes_through_every_stage(tmp_path, three_layers):
    training = {"kind": "clt", "expansion": 2.1, "k": 9, "n_tokens": 60_000}
    run = run_of(tmp_path, training, three_layers, hook=INS, target=OUTS)
    store = run.do("harvest")
    build_all(run.workspace, run.config)
    assert (store.d_in, store.d_out) == (96, 96)
    dictionary = load_dictionary(run.folder / "dictionary")
    assert isinstance(dictionary, CrossLayerTranscoder) and dictionary.d_sae == 3 * 67
    assert dictionary.parts_in == dictionary.parts_out == (32, 32, 32)
    manifest = run.manifest("dictionary")
    assert (manifest.inputs["hook"], manifest.inputs["target"]) == (INS, OUTS) and len(
        manifest.notes["target_scales"]
    ) == 3
    values = values_of(run)
    for site in OUTS.split("+"):
        assert values[f"core/{three_layers}:{site}/fvu"] < 0.6
        assert values[f"core/{three_layers}:{site}/l0"] == pytest.approx(9, rel=0.2)
    write_report(run.workspace)
    client = TestClient(create_app(run.workspace), base_url="http://127.0.0.1")
    assert client.get("/").status_code == 200 and client.get("/runs/main/features/200").status_code == 200
    written = sum(dictionary.W_dec.split(32, dim=-1))
    assert_effects(run, written, run.model.readout(Hook("blocks.2.hook_resid_post")), "written to the 3 sites together")


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
    model, sites = load_model(three_layers), Sites.at(hook)
    W_dec = torch.randn(5, sum(map(model.width, sites.hooks)), generator=torch.Generator().manual_seed(0))
    if last is None:
        with pytest.raises(UserError, match="None of the sites writes to the residual stream"):
            written_to_stream(model, W_dec, sites)
        return
    rows, _, unembed, which = written_to_stream(model, W_dec, sites)
    columns = {place.hook: place.columns for place in model.places(sites.hooks)}[Hook(last)]
    assert torch.equal(rows, W_dec[:, columns]) and f":{last}," in which
    assert torch.equal(unembed, model.readout(Hook(last)).unembed)


def test_each_site_of_a_cross_layer_transcoder_is_spliced_alone_from_the_undisturbed_model(tmp_path, three_layers):
    """One that gives the last site exactly and zeros at the others loses nothing there and everything zero ablation
    loses elsewhere."""
    run = run_of(tmp_path, model=three_layers, hook=INS, target=OUTS)
    reader = reader_of(run)
    mlp = run.model.hf.get_submodule("gpt_neox.layers.2.mlp")

    class LastAlone(Dictionary):
        d_in = d_out = d_sae = 96
        b_dec = torch.zeros(96)

        def encode(self, x):
            return x

        def reconstruct(self, x, codes):
            return torch.cat([torch.zeros_like(x[:, :64]), mlp(x[:, 64:])], dim=-1)

    mean = moments(reader, 64).mean
    with torch.no_grad():
        sites = core_sums(reader, {"it": Itself(LastAlone())}, mean, np.array(run.corpus.row_ranges["test"]))["it"]
    found = [{figure.name: figure.value for figure in core_figures(site)} for site in sites]
    assert found[2]["core/fvu"] < 1e-6
    assert sites[2]["ce_spliced"].sum() == pytest.approx(sites[2]["ce"].sum(), rel=1e-6)
    for site in sites[:2]:  # with random weights some sites are worth nothing, and then there is no share of it
        assert site["ce_spliced"].sum() == pytest.approx(site["ce_zero"].sum(), rel=1e-7)


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
    run = run_of(tmp_path, model=three_layers, hook=hook, target=target)
    with pytest.raises(UserError, match=message):
        train_config(run, TrainingChoice(**choice))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A skip transcoder trained here, in three layouts, and the run that it came from."""
    tmp_path = tmp_path_factory.mktemp("exported")
    training = {"kind": "jumprelu", "expansion": 1, "k": 8, "n_tokens": 40_000, "skip": True}
    run = run_of(tmp_path, training, hook=IN, target=OUT)
    run.do("train")
    for layout in ("saelens", "circuit-tracer"):
        run.do("export", to=tmp_path / layout, layout=layout)
    weights = load_file(tmp_path / "saelens" / "sae_weights.safetensors")
    (tmp_path / "gemma").mkdir()
    names = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")
    np.savez(tmp_path / "gemma" / "params.npz", **{name: weights[name].numpy() for name in names})
    return tmp_path, run


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["saelens", "circuit-tracer"])
def test_an_imported_transcoder_is_indexed_and_evaluated(layout, exported, tmp_path):
    folder, origin = exported
    run = run_of(tmp_path)
    run.do("import", source=str(folder / layout))
    run = Run.open(run.workspace)
    assert (run.config.hook, run.config.target) == (IN, OUT), "the files name both"
    assert run.manifest("dictionary").inputs["target"] == OUT
    x = torch.randn(30, 128, generator=torch.Generator().manual_seed(0))
    there, here = (load_dictionary(run.folder / "dictionary") for run in (origin, run))
    torch.testing.assert_close(here(x), there(x), rtol=1e-4, atol=1e-4)
    run.do("index")
    values = values_of(run)
    assert values["core/loss_recovered_mean"] > 0.3 and values["core/fvu"] < 1
    run.do("export", to=tmp_path / "again", layout=layout)
    assert import_dictionary(tmp_path / "again").target == (OUT,)


def test_a_transcoder_whose_files_name_no_target_is_given_one(exported, tmp_path):
    folder, origin = exported
    run = run_of(tmp_path, hook=IN, target=OUT)
    run.do("import", source=str(folder / "gemma"))
    there, here = (load_dictionary(run.folder / "dictionary") for run in (origin, run))
    assert not here.is_autoencoder and run.manifest("dictionary").inputs["target"] == OUT
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
    run = run_of(tmp_path, **options)
    with pytest.raises(UserError, match=words):
        run.do("import", source=str(tmp_path / "d"))
    assert not (run.folder / "run.json").exists()
