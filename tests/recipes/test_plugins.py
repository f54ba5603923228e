"""A type of dictionary that another package registers: configured by its name, trained, saved, loaded, evaluated."""

import os
import subprocess
import sys

import pytest
import torch

from sparselex.activations.synthetic import MixtureConfig, SparseMixture
from sparselex.atlas.matching import stability_figures
from sparselex.base.errors import UserError
from sparselex.base.workspace import Workspace
from sparselex.dictionaries.files import load_dictionary
from sparselex.dictionaries.kinds import DICTIONARIES
from sparselex.recipes.pipeline import Pipeline
from sparselex.recipes.run import TrainingChoice, field_of
from sparselex.testing import check_dictionary
from sparselex.training.config import TrainConfig
from sparselex.training.train import train
from tests.support.plugin import install, install_package
from tests.support.small import small_config, write_documents

VALUES = {
    "dictionary": {"kind": "log_relu", "d_in": 16, "d_sae": 32},
    "n_tokens": 20_000,
    "batch_size": 500,
    "lr": 3e-3,
}


@pytest.fixture
def installed(tmp_path, monkeypatch):
    folder = install(tmp_path / "site-packages")
    monkeypatch.syspath_prepend(folder)
    yield folder
    sys.modules.pop("log_relu", None)


def mixture():
    return SparseMixture(MixtureConfig(d_in=16, n_features=24, l0=3), batch_size=500)


def test_it_is_trained_saved_and_loaded(installed, tmp_path):
    config = TrainConfig.parse(VALUES)
    assert TrainConfig.parse(config.to_json()) == config and config.to_json()["dictionary"]["weight"] == 2.0
    trained = train(mixture(), config, tmp_path / "d", inputs={})
    loaded = load_dictionary(tmp_path / "d")
    assert type(loaded).__name__ == "LogReLU" and type(loaded).__module__ == "log_relu"
    assert loaded.config == config.dictionary and "log_relu" in DICTIONARIES.names()
    x = mixture().next_batch().x
    torch.testing.assert_close(loaded(x), trained(x))
    check_dictionary(loaded)
    heavier = TrainConfig.parse(VALUES | {"dictionary": VALUES["dictionary"] | {"weight": 20.0}})
    l0 = [
        float((d.encode(x) > 0).float().sum(-1).mean())
        for d in (loaded, train(mixture(), heavier, tmp_path / "e", inputs={}))
    ]
    assert 0 < l0[1] < l0[0]


def test_it_goes_through_every_stage_from_the_command_line(installed, tmp_path):
    workspace = Workspace.create(tmp_path / "w")
    Pipeline(workspace, "main", small_config(write_documents(tmp_path / "text"))).harvest()
    command = [
        sys.executable,
        "-c",
        "from sparselex.cli.main import main; main()",
        "train",
        str(workspace.path),
        "--kind",
        "log_relu",
        "--expansion",
        "0.25",
        "--option",
        "weight=3",
        "--tokens",
        "8000",
    ]
    paths = os.pathsep.join([str(installed), *filter(None, [os.environ.get("PYTHONPATH")])])
    result = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0 and "LogReLU dictionary, 512 -> 128 latents" in result.stdout, result.stderr
    pipeline = Pipeline.open(workspace, "main").use_controls([])
    assert pipeline.config.training.kind == "log_relu" and pipeline.train_config().dictionary.weight == 3
    assert pipeline.index().d_sae == 128
    assert {figure.name: figure for figure in pipeline.evaluate().figures}["core/fvu"].value < 1


def test_where_the_package_is_not_installed_the_known_types_are_named(tmp_path, monkeypatch):
    folder = install(tmp_path / "site-packages")
    with monkeypatch.context() as patch:
        patch.syspath_prepend(folder)
        train(mixture(), TrainConfig.parse(VALUES), tmp_path / "d", inputs={})
        assert TrainingChoice(kind="log_relu").kind == "log_relu"
    sys.modules.pop("log_relu", None)
    for attempt in (lambda: TrainConfig.parse(VALUES), lambda: TrainingChoice(kind="log_relu")):
        with pytest.raises(
            UserError, match=r"Unknown dictionary 'log_relu'(?s:.*)one of batchtopk, topk, relu, jumprelu"
        ):
            attempt()
    with pytest.raises(UserError, match=r"config.json.*'log_relu'(?s:.*)batchtopk(?s:.*)install the package"):
        load_dictionary(tmp_path / "d")


SIGNED = """
from typing import Literal

from sparselex.dictionaries.config import DictionaryConfig
from sparselex.dictionaries.types.abstopk import AbsTopK, AbsTopKConfig


class TwoWayConfig(AbsTopKConfig):
    kind: Literal["two_way"] = "two_way"
    n_kept: int = 3

    @classmethod
    def field_of(cls, choice):
        return "n_kept" if choice == "k" else super().field_of(choice)


class TwoWay(AbsTopK):
    config: TwoWayConfig
"""
"""A type whose activations have signs, and whose amount has a name of its own."""


def test_a_signed_type_answers_for_itself(tmp_path, monkeypatch):
    entries = {"sparselex.dictionary": {"two_way": "two_way:TwoWay"}}
    monkeypatch.syspath_prepend(install_package(tmp_path / "site-packages", "two_way", SIGNED, entries))
    values = {"kind": "two_way", "d_in": 16, "d_sae": 32, "k": 3}
    dictionary = train(mixture(), TrainConfig.parse(VALUES | {"dictionary": values}), tmp_path / "d", inputs={})
    assert field_of("two_way", "k") == "n_kept" and TrainingChoice(kind="two_way", k=5).fields("cpu")["n_kept"] == 5
    turned = load_dictionary(tmp_path / "d")
    turned.W_dec.neg_()
    turned.W_enc.neg_()
    figures = stability_figures([dictionary, turned], "two_way", signed=dictionary.signed)
    found = {figure.name.rpartition("/")[2]: figure.value for figure in figures}
    assert found["shared_share"] == 1 and found["matched_cosine"] == pytest.approx(1)
    sys.modules.pop("two_way", None)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("log_relu:Missing", "of the package 'log-relu' cannot be loaded"),
        ("no_such_module:LogReLU", "of the package 'log-relu' cannot be loaded"),
        ("log_relu:LogReLUConfig", "no subclass of TrainableDictionary"),
        ("sparselex.dictionaries.types.relu:ReLU", "ReLUConfig, is not of that kind"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_message(target, message, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(install(tmp_path / "site-packages", target=target))
    with pytest.raises(UserError, match=message):
        TrainConfig.parse(VALUES)
    sys.modules.pop("log_relu", None)
    assert TrainConfig.parse(VALUES | {"dictionary": {"kind": "topk", "d_in": 16, "d_sae": 40}}), "the others go on"
