"""Names of the Hugging Face hub: models, dictionaries and datasets fetched by its own libraries, from a hub on this
machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sparselex.base.sites import Sites
from sparselex.convert.doors import export_dictionary
from sparselex.dictionaries.trainable import new_dictionary
from sparselex.dictionaries.types.topk import TopKConfig
from sparselex.lm.embedded import EMBEDDED
from tests.support.hub import Hub, serving
from tests.support.small import write_documents

pytestmark = pytest.mark.slow

HOOK = "blocks.0.mlp.hook_post"


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A model, a repository of two dictionaries, and a dataset of ten texts."""
    root = tmp_path_factory.mktemp("hub")
    for path in Path(EMBEDDED["embedded"]).iterdir():
        if path.is_file():
            (root / "lab/small-lm").mkdir(parents=True, exist_ok=True)
            (root / "lab/small-lm" / path.name).write_bytes(path.read_bytes())
    for name, d_sae in (("wide", 96), ("narrow", 32)):
        dictionary = new_dictionary(TopKConfig(d_in=512, d_sae=d_sae, k=4), torch.Generator().manual_seed(0))
        dictionary.fold([1.0], [1.0])
        (root / "lab/dictionaries").mkdir(parents=True, exist_ok=True)
        export_dictionary(dictionary, root / "lab/dictionaries" / name, "saelens", sites=Sites.at(HOOK))
    texts = sorted(write_documents(root / "texts").iterdir())
    (root / "lab/texts").mkdir()
    lines = [json.dumps({"text": path.read_text(encoding="utf-8")}) for path in texts]
    (root / "lab/texts/train.jsonl").write_text("\n".join(lines), encoding="utf-8")
    with serving(root) as hub:
        yield hub


def run(hub: Hub, home: Path, *arguments: object):
    """The command line with this hub for the real one and nothing downloaded before."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    environment |= {
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(home),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1",
    }
    command = [sys.executable, "-m", "sparselex", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


def test_models_dictionaries_and_texts_by_their_names(hub, tmp_path):
    arguments = (
        "import",
        tmp_path / "w",
        "lab/dictionaries:narrow",
        "--model",
        "lab/small-lm",
        "--text",
        "lab/texts",
        "--context",
        64,
        "--tokens",
        20_000,
    )
    result = run(hub, tmp_path / "home", *arguments)
    assert result.returncode == 0 and "512 -> 32 latents, read as saelens" in result.stdout, result.stderr
    fetched = [line for line in hub.asked if line.startswith("GET lab/dictionaries/resolve")]
    assert fetched and not any("wide" in line for line in fetched), "only what was named travels"
    assert all(any(name in line for line in hub.asked) for name in ("lab/small-lm/resolve", "lab/texts/resolve"))
    result = run(hub, tmp_path / "home", "index", tmp_path / "w")
    assert result.returncode == 0, result.stderr
    manifest = json.loads((tmp_path / "w/runs/main/dictionary/manifest.json").read_text(encoding="utf-8"))
    assert "lab/dictionaries:narrow" in json.dumps(manifest)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("lab/nothing", "no Hugging Face repository of that name"),
        ("lab/dictionaries", "holds no dictionary"),
        ("lab/dictionaries:wider", "no dictionary"),
    ],
)
def test_names_that_hold_no_dictionary(source, words, hub, tmp_path):
    result = run(hub, tmp_path / "home", "import", tmp_path / "w", source, "--text", "stdlib", "--hook", HOOK)
    assert result.returncode == 2 and words in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "w/runs").exists() or not list((tmp_path / "w/runs").iterdir())


def test_an_unknown_model_is_named(hub, tmp_path):
    result = run(hub, tmp_path / "home", "hooks", "lab/no-such-model")
    assert result.returncode == 2 and "cannot be loaded" in result.stderr and "Traceback" not in result.stderr
