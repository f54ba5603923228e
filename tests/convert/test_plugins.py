"""A format, a layout and a control of another package, as docs/library.md shows them."""

import sys

import pytest
import torch

from sparselex.base.errors import UserError
from sparselex.base.sites import Sites
from sparselex.convert.doors import export_dictionary, import_dictionary
from sparselex.convert.table import FORMATS, LAYOUTS
from sparselex.dictionaries.controls.given import Given
from sparselex.dictionaries.kinds import CONTROLS
from sparselex.dictionaries.types.relu import ReLU, ReLUConfig
from sparselex.evaluate.config import EvaluateConfig, control_words
from sparselex.testing import check_dictionary
from tests.support.plugin import documented, documented_entries, install


@pytest.fixture
def installed(tmp_path, monkeypatch):
    entries = documented_entries("sparselex.control", "sparselex.format", "sparselex.layout")
    folder = install(tmp_path / "site-packages", "my-package", documented("BARE = Format("), entries)
    monkeypatch.syspath_prepend(folder)
    yield
    sys.modules.pop("my_package", None)


def test_a_format_and_a_layout_are_read_and_written(installed, tmp_path):
    assert (FORMATS.names()[-1], LAYOUTS.names()[-1]) == ("bare", "bare")
    dictionary = ReLU(ReLUConfig(d_in=6, d_sae=20), torch.Generator().manual_seed(0))
    dictionary.fold([1.0], [1.0])
    export_dictionary(dictionary, tmp_path / "d", "bare", sites=Sites.at("blocks.0.hook_resid_post"))
    found = import_dictionary(tmp_path / "d")
    assert (found.format, found.hooks, found.said) == ("bare", ("blocks.0.hook_resid_post",), "")
    x = torch.randn(30, 6, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(found.dictionary(x), dictionary(x))
    with pytest.raises(UserError, match=r"bare: bare.safetensors"):
        import_dictionary(tmp_path)


def test_a_control_is_made_of_what_an_evaluation_measured(installed):
    assert EvaluateConfig(controls=("pca", "differences")).controls == ("pca", "differences")
    x = torch.randn(200, 6, generator=torch.Generator().manual_seed(1))
    given = Given(x.mean(0), x.T.cov(), lambda: x, 20, 3, torch.Generator().manual_seed(0), 4)
    control = CONTROLS.get("differences")(given)
    check_dictionary(control)
    assert control.signed and control.d_sae == 20
    assert control_words("differences") == "differences of two tokens"


def test_controls_are_told_in_the_words_of_their_makers():
    told = {name: control_words(name) for name in CONTROLS.names()}
    assert told["pca"] == "principal components" and told["neurons"] == "the model's own coordinates"
    assert len(set(told.values())) == len(told) and control_words("gone") == "a control dictionary"


def test_an_unknown_control_is_refused_with_the_names_there_are():
    with pytest.raises(UserError, match=r"Unknown control 'differences'(?s:.*)neurons, pca, random"):
        EvaluateConfig(controls=("differences",))
