"""`sparselex decompose`, as a user types it."""

from sparselex.cli.decompose import ToyName
from sparselex.parameters.records import Decomposition, decomposition_of
from sparselex.parameters.toys.config import TOYS
from tests.support.command import done, sparselex

SMALL = ("--toy", "tms-5-2", "--n-steps", 3, "--n-components", 6, "--batch-size", 16)


def test_a_toy_is_decomposed_and_printed_with_its_control(tmp_path, monkeypatch):
    monkeypatch.setitem(TOYS, "tms-5-2", quick())
    plain = done("decompose", tmp_path / "w", *SMALL)
    shown = " ".join(plain.out.split())
    assert "embed 2 x 5" in shown and "parameters/embed/mmcs" in shown and "untrained" in shown
    found = Decomposition.parse(done("decompose", tmp_path / "w", *SMALL, "--json").json, "what was printed")
    assert found == decomposition_of(tmp_path / "w" / "decompositions" / "tms-5-2") and found.n_steps == 3
    other = sparselex("decompose", tmp_path / "w", *SMALL[:-1], 8)
    assert other.code == 2 and "with other settings" in other.err
    named = sparselex("decompose", tmp_path / "w", *SMALL, "--name", "mine")
    assert named.code == 2 and "a toy is called what it is" in named.err


def test_every_toy_can_be_named():
    assert set(ToyName.__args__) == set(TOYS)


def quick():
    """The toy with little training and few inputs."""
    of = TOYS["tms-5-2"]
    toy = of.toy.model_copy(update={"n_steps": 5})
    attack = of.attack.model_copy(update={"n_inputs": 10})
    return of.model_copy(update={"toy": toy, "n_inputs": 50, "attack": attack})


def test_a_folder_or_run_that_is_not_there_is_told_with_toys_in_reach(small_workspace, tmp_path):
    nothing = sparselex("decompose", tmp_path / "no")
    assert nothing.code == 2 and "no sparselex workspace" in nothing.err
    nobody = sparselex("decompose", small_workspace.path, "--run", "nobody")
    assert nobody.code == 2 and "nobody" in nobody.err
    block = sparselex("decompose", small_workspace.path, "--layer", 3, "--quick")
    assert block.code == 2 and "no block 3" in block.err
    control = sparselex("decompose", small_workspace.path, "--run", "twin")
    assert control.code == 2 and "control itself" in control.err
    assert not (small_workspace.path / "decompositions").exists()
