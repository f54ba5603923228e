"""Stopped at any call that changes files, by a kill or a full disk, a verb that is given again ends as if it had not
been."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GROUPS = (
    ["harvest", "index", "report", "export", "import", "diff", "map", "compare", "embed"],
    ["train", "explain", "evaluate", "effects", "sweep", "use", "manifolds", "analyse automata"],
)
"""One for each of two processors, about equally long."""

OF_MODEL = (
    ["graph", "model-features", "pair", "train influence"],
    ["doomed", "decompose toy", "decompose", "train attribution"],
)
"""What asks for features of the model and not only of the activations, where every call is tried."""


EVERY = {"kill": 41, "full": 89}
"""One in so many calls is tried; with SPARSELEX_EVERY_CALL in the environment each of them, which takes longer."""


@pytest.mark.slow
@pytest.mark.parametrize("how", EVERY)
def test_stopped_anywhere_a_verb_goes_on(how):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "tests.support.kills",
        how,
        "1" if "SPARSELEX_EVERY_CALL" in os.environ else str(EVERY[how]),
    ]
    at_work = [
        subprocess.Popen([*command, *verbs], cwd=ROOT, env=environment, stdout=-1, stderr=-1, text=True)
        for verbs in (*GROUPS, *(OF_MODEL if "SPARSELEX_EVERY_CALL" in os.environ else ()))
    ]
    found = {}
    for process in at_work:
        out, said = process.communicate()
        assert process.returncode == 0, said
        found |= json.loads(out)
    assert all(verb["calls"] for verb in found.values()) and sum(verb["calls"] for verb in found.values()) > 264
    assert {name: verb["faults"] for name, verb in found.items() if verb["faults"]} == {}
