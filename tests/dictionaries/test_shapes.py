"""The shapes written in signatures are checked while real dictionaries run.

In a process of its own: annotations can only be enforced where a module is loaded, and other tests have loaded these
already.
"""

import subprocess
import sys

import pytest

CHECKED = '["sparselex.dictionaries", "sparselex.training.objectives", "sparselex.training.dead"]'

PROGRAM = f"""
from jaxtyping import TypeCheckError, install_import_hook
with install_import_hook({CHECKED}, "beartype.beartype"):
    from sparselex.dictionaries import table
    from sparselex.dictionaries.controls.given import Given
    from sparselex.dictionaries.kinds import CONTROLS
    from sparselex.dictionaries.sparse import products as sparse
    from sparselex.training.config import TrainConfig
    from sparselex.training.train import train
import torch
from pathlib import Path
from tempfile import TemporaryDirectory
from sparselex.activations.synthetic import MixtureConfig, SparseMixture
from sparselex.testing import check_dictionary

torch.set_num_threads(1)
for values in ({{"kind": "relu"}}, {{"kind": "topk", "k": 3}}, {{"kind": "batchtopk", "k": 3}},
               {{"kind": "batchtopk", "k": 3, "selection": "bfloat16"}}, {{"kind": "matching_pursuit", "k": 3}},
               {{"kind": "archetypal", "k": 3, "n_points": 50}}):
    config = {{"dictionary": {{"d_in": 16, "d_sae": 40, **values}}, "n_tokens": 2000, "batch_size": 100,
              "dead_after_tokens": 200}}
    with TemporaryDirectory() as folder:
        source = SparseMixture(MixtureConfig(d_in=16, n_features=32, l0=3), 100)
        check_dictionary(train(source, TrainConfig.parse(config), Path(folder) / "d", inputs={{}}))
given = Given(torch.zeros(8), torch.eye(8), lambda: torch.randn(300, 8), 20, 3, torch.Generator(), 4)
for name in ("neurons", "pca", "random", "covariance", "kmeans"):
    check_dictionary(CONTROLS.get(name)(given))
places = torch.zeros(2, dtype=torch.int64)
try:
    sparse.pair_dots(torch.zeros(3, 4), torch.zeros(3, 5), places, places)
except TypeCheckError:
    print("wrong shape caught")
"""


@pytest.mark.slow
def test_annotated_shapes_hold():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout == "wrong shape caught\n", done.stderr[-3000:]
