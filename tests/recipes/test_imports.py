"""Other projects' dictionaries of several sites, and of normalised tokens, in a run: read, indexed, evaluated."""

import json

import pytest
import torch
from safetensors.torch import save_file

from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.convert.doors import export_dictionary
from sparselex.dictionaries.types.clt import CrossLayerConfig, CrossLayerTranscoder
from sparselex.recipes.config import new_run
from sparselex.recipes.run import Run
from tests.support.command import done
from tests.support.small import values_of, write_documents

pytestmark = pytest.mark.slow

IN, OUT = "blocks.0.hook_mlp_in", "blocks.0.hook_mlp_out"
EYE = torch.eye(128)


def run_of(tmp_path, run="main", **options):
    text = write_documents(tmp_path / "text") if not (tmp_path / "text").exists() else tmp_path / "text"
    return Run(
        Workspace.create(tmp_path / "w"), run, new_run("embedded", str(text), n_ctx=64, n_tokens=20_000, **options)
    )


def figures(run):
    run.do("index")
    return values_of(run)


def test_a_perfect_dictionary_of_normalised_tokens_loses_nothing(tmp_path):
    """Every coordinate and its opposite as a latent: what is spliced in is the token, mean and size included."""
    (tmp_path / "d").mkdir()
    save_file(
        {
            "W_enc": torch.cat([EYE, -EYE], 1),
            "b_enc": torch.zeros(256),
            "W_dec": torch.cat([EYE, -EYE]),
            "b_dec": 0.5 * torch.ones(128),
        },
        tmp_path / "d" / "sae_weights.safetensors",
    )
    cfg = {"architecture": "standard", "d_in": 128, "d_sae": 256, "normalize_activations": "layer_norm"}
    (tmp_path / "d" / "cfg.json").write_text(json.dumps(cfg))
    run = run_of(tmp_path, hook=OUT)
    run.do("import", source=str(tmp_path / "d"))
    values = figures(run)
    assert values["core/fvu"] < 1e-6 and abs(values["core/loss_recovered_mean"] - 1) < 1e-3
    assert values["core/l0"] == pytest.approx(128, abs=1)


def crosscoder(folder):
    """Two sites, each reconstructed exactly."""
    folder.mkdir()
    zeros = torch.zeros(128, 128)
    encoder = torch.stack([torch.cat([EYE, -EYE, zeros, zeros], 1), torch.cat([zeros, zeros, EYE, -EYE], 1)])
    decoder = encoder.transpose(1, 2).contiguous()
    save_file(
        {
            "encoder.weight": encoder,
            "encoder.bias": torch.zeros(512),
            "decoder.weight": decoder,
            "decoder.bias": torch.zeros(2, 128),
        },
        folder / "model.safetensors",
    )
    (folder / "config.json").write_text('{"dict_class": "CrossCoder"}')
    return folder


def test_a_crosscoder_of_two_models(tmp_path):
    folder, text = crosscoder(tmp_path / "d"), write_documents(tmp_path / "text")
    place = ["--hook", OUT, "--second-model", "embedded-b"]
    cut = ["--text", text, "--context", 64, "--tokens", 20_000]
    assert "read as crosscoder_learning" in done("import", tmp_path / "w", folder, *cut, *place).out
    values = figures(Run.open(Workspace(tmp_path / "w"), "main"))
    assert values["core/fvu"] < 1e-6 and abs(values["core/loss_recovered_mean"] - 1) < 1e-3


def test_sites_of_other_widths_are_named(tmp_path):
    folder = crosscoder(tmp_path / "d")
    with pytest.raises(UserError, match="has width 512, and the dictionary reads width 256"):
        run_of(tmp_path, hook="blocks.0.mlp.hook_post").do("import", source=str(folder))
    config = CrossLayerConfig(d_in=640, d_out=640, d_sae=8, layers_in=(320, 320), layers_out=(320, 320), k=2)
    export_dictionary(CrossLayerTranscoder(config), tmp_path / "e", "circuit-tracer")
    sites = f"{OUT}+blocks.0.mlp.hook_post"
    with pytest.raises(UserError, match=r"sites of widths \[128, 512\], and the dictionary reads \[320, 320\]"):
        run_of(tmp_path, hook=sites, target=sites).do("import", source=str(tmp_path / "e"))


def test_a_cross_layer_transcoder(tmp_path):
    sites = {"hook": f"blocks.0.hook_resid_pre+{IN}", "target": f"{IN}+{OUT}"}
    config = CrossLayerConfig(
        d_in=256, d_out=256, d_sae=64, layers_in=(128, 128), layers_out=(128, 128), thresholds="each"
    )
    dictionary = CrossLayerTranscoder(config, torch.Generator().manual_seed(0))
    dictionary.threshold.fill_(0.5)
    export_dictionary(dictionary, tmp_path / "d", "circuit-tracer")
    run = run_of(tmp_path, **sites)
    run.do("import", source=str(tmp_path / "d"))
    assert 0 < figures(run)["core/l0"] < 64
