"""A dictionary goes to a hub in SAELens' layout with a card made from the report, and nothing else does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sparselex.base.errors import UserError
from sparselex.convert.doors import import_dictionary
from sparselex.recipes.pushing import push
from tests.support.hub import Hub, serving

REPOSITORY = "lab/small-dictionary"


@pytest.fixture(scope="module")
def workspace(small_workspace):
    return small_workspace


def pushed(hub: Hub, home: Path, *arguments: object, token: str = Hub.token) -> subprocess.CompletedProcess:
    """The command, with the hub of the tests for the real one."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(home),
        "HF_TOKEN": token,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "OMP_NUM_THREADS": "1",
        "NO_PROXY": "127.0.0.1",
    }
    command = [sys.executable, "-m", "sparselex", "push", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


@pytest.mark.slow
def test_it_arrives_as_saelens_loads_it_and_says_what_was_measured(workspace, tmp_path):
    (tmp_path / "hub").mkdir()
    with serving(tmp_path / "hub") as hub:
        said = pushed(hub, tmp_path / "home", workspace.path, REPOSITORY)
        assert said.returncode == 0 and f"/{REPOSITORY}/commit/" in said.stdout, said.stderr
        refused = pushed(hub, tmp_path / "home", workspace.path, REPOSITORY, token="hf_another")
    assert refused.returncode == 2 and "HF_TOKEN" in refused.stderr and "Traceback" not in refused.stderr
    folder = tmp_path / "hub" / REPOSITORY
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    inside = "blocks.0.mlp.hook_post"
    assert names == {
        "README.md",
        *(f"{inside}/{name}" for name in ("cfg.json", "config.json", "sae_weights.safetensors")),
    }
    read = import_dictionary(folder / inside)
    assert (read.dictionary.d_in, read.dictionary.d_sae, read.model_name) == (512, 256, "embedded")
    for path in folder.rglob("*"):
        if path.is_file():
            assert str(workspace.path).encode() not in path.read_bytes(), "no path of this machine"
            assert str(workspace.path.parent).encode() not in path.read_bytes()


def test_the_card_has_the_figures_with_what_they_are_held_against(workspace):
    found = push(workspace, "main", REPOSITORY, dry_run=True)
    assert found.address == "" and set(found.files) > {"README.md"}
    line = next(line for line in found.card.splitlines() if line.startswith("| core/fvu "))
    head = next(line for line in found.card.splitlines() if line.startswith("| figure "))
    assert "95 % interval" in head and "| twin |" in head and "null" in head
    assert len(line.split(" | ")) == len(head.split(" | ")) and any(" to " in line for line in found.card.splitlines())
    assert f'SAE.from_pretrained("{REPOSITORY}", "blocks.0.mlp.hook_post")' in found.card
    twin = push(workspace, "twin", REPOSITORY, dry_run=True)
    assert "A control: of the model with reinitialised weights" in twin.card


@pytest.mark.parametrize(
    ("run", "repository", "words"), [("main", "../up", "no name"), ("nobody", REPOSITORY, "nobody")]
)
def test_what_cannot_be_sent(run, repository, words, workspace):
    with pytest.raises(UserError, match=words):
        push(workspace, run, repository, dry_run=True)
