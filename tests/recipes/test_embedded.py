"""The embedded models: ordinary Hugging Face folders, small, alike but for their seed, and better than a compressor."""

import json
import re

import pytest
import transformers

from sparselex.lm.embedded import EMBEDDED
from sparselex.recipes.embedded_lm import EmbeddedConfig, _bits, _divide, _stream, _xz_bits, train_embedded
from sparselex.text.sources import load_documents


@pytest.mark.parametrize("name", EMBEDDED)
def test_an_ordinary_folder_of_at_most_three_megabytes(name):
    folder = EMBEDDED[name]
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 3_000_000
    config = transformers.AutoModelForCausalLM.from_pretrained(folder).config
    assert (config.num_hidden_layers, config.hidden_size, config.intermediate_size, config.hidden_act) == (
        1,
        128,
        512,
        "relu",
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer.decode(tokenizer("def f(x):\n    return 'é🤷'").input_ids) == "def f(x):\n    return 'é🤷'"


def test_the_two_differ_in_their_seed_alone():
    first, second = EMBEDDED.values()
    for name in ("tokenizer.json", "config.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert (first / "model.safetensors").read_bytes() != (second / "model.safetensors").read_bytes()


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_card_states_its_figures(name):
    card = (EMBEDDED[name] / "README.md").read_text(encoding="utf-8")
    own, ngram, xz = (float(value) for value in re.findall(r"\| (\d\.\d+) \|", card))
    assert own <= 1.36 and own < xz < ngram


@pytest.mark.slow
@pytest.mark.parametrize("name", EMBEDDED)
def test_held_out_modules_are_predicted_better_than_compressed(name):
    """A sample of the held-out modules, measured here; the card has all of them."""
    from tokenizers import Tokenizer

    _, held_out = _divide(load_documents("stdlib"), EmbeddedConfig())
    sample = [document for document in held_out if len(document.text) < 60_000][:12]
    model = transformers.AutoModelForCausalLM.from_pretrained(EMBEDDED[name]).float()
    stream = _stream(Tokenizer.from_file(str(EMBEDDED[name] / "tokenizer.json")), sample)
    n_bytes = sum(len(document.text.encode()) for document in sample)
    assert _bits(model, stream, 256) / n_bytes < min(1.6, _xz_bits(sample) / n_bytes)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_recipe_runs(tmp_path, monkeypatch):
    """Two steps on a hundredth of the text: the whole path, no quality."""
    from sparselex.recipes import embedded_lm

    documents = [document for number, document in enumerate(load_documents("stdlib")) if number % 60 == 0]
    monkeypatch.setattr(embedded_lm, "load_documents", lambda _: iter(documents))
    config = EmbeddedConfig(n_vocab=400, n_ctx=32, batch_rows=4, n_tokens=4 * 32 * 20)
    figures = train_embedded(config, tmp_path)
    assert 2 < figures["bits_per_byte"] < 8 and figures["n_steps"] == 20
    assert json.loads((tmp_path / "config.json").read_text())["vocab_size"] == 400
    assert "held out" in (tmp_path / "README.md").read_text()
