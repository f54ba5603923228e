"""A value that is given twice is one, in every list of values that a configuration takes."""

import importlib
import pkgutil
import typing

import pytest

import sparselex
from sparselex.base.bounds import Once
from sparselex.base.config import Config
from sparselex.cli.doomed import DoomedOptions
from sparselex.evaluate.config import EvaluateConfig
from sparselex.evaluate.model_features.config import ModelFeaturesConfig
from sparselex.evaluate.occlusion.config import OcclusionConfig
from sparselex.evaluate.supervised.config import TaskConfig
from sparselex.explain.asking.config import AskConfig
from sparselex.recipes.graphs import GraphOptions
from sparselex.recipes.stages import STAGES

ELSEWHERE = {
    "HarvestConfig.splits": "refuses what is named twice",
    "MonosemanticityConfig.train_tokens": "has one for each width, and these may be equal",
    "ProbesConfig.ks": "sorts, each once",
    "ProbesConfig.ns": "sorts, each once",
    **dict.fromkeys(
        (f"Sweep.{name}" for name in ("kinds", "expansions", "ks", "l1s", "seeds", "hooks")),
        "refuses combinations that are the same",
    ),
}
"""Lists whose configuration or work sees to it in another way, which tests of theirs hold."""


def configurations():
    """Every configuration of a stage or a measurement, by whose fields options are made: none of them loads PyTorch."""
    for found in pkgutil.walk_packages(sparselex.__path__, "sparselex."):
        room, name = found.name.split(".")[1], found.name.rpartition(".")[2]
        if (room in ("evaluate", "explain", "activations") and name == "config") or room == "cli":
            importlib.import_module(found.name)
    STAGES.items()
    waiting = [Config]
    while waiting:
        waiting += (made := waiting.pop()).__subclasses__()
        if made.__module__.split(".")[1] in ("evaluate", "explain", "activations", "recipes", "cli"):
            yield made


def lists(made):
    """Names of its fields of any number of values, and of those that see to it that each counts once."""
    for name in made.__annotations__.keys() & made.model_fields.keys():
        field = made.model_fields[name]
        members = typing.get_args(field.annotation) if type(None) in typing.get_args(field.annotation) else ()
        for part in (field.annotation, *members):
            bare = typing.get_args(part)[0] if typing.get_origin(part) is typing.Annotated else part
            if typing.get_origin(bare) is tuple and typing.get_args(bare)[-1] is Ellipsis:
                yield name, Once in (*field.metadata, *getattr(part, "__metadata__", ()))


def test_every_list_of_a_configuration_sees_to_it():
    options = lambda made: made.__module__.rpartition(".")[2] not in ("records", "store", "imported")
    there = filter(options, configurations())
    found = {f"{made.__name__}.{name}": once for made in there for name, once in lists(made)}
    assert sum(found.values()) > 20
    assert {name for name, once in found.items() if not once} == set(ELSEWHERE)


@pytest.mark.parametrize(
    ("made", "given", "left"),
    [
        (ModelFeaturesConfig, {"lengths": ["0.5", "0.50", "1"]}, (0.5, 1.0)),
        (ModelFeaturesConfig, {"lengths": ["0.5", "0.5000001"]}, (0.5000001,)),
        (ModelFeaturesConfig, {"doses": ["0.05", "0.05"]}, (0.05,)),
        (ModelFeaturesConfig, {"parts": ["tokens", "errors", "tokens"]}, ("tokens", "errors")),
        (ModelFeaturesConfig, {"controls": ["pca", "pca"]}, ("pca",)),
        (DoomedOptions, {"examples": ["unused"] * 7}, ("unused",)),
        (EvaluateConfig, {"explained_controls": ["pca", "pca"]}, ("pca",)),
        (OcclusionConfig, {"kinds": ["topk", "topk"]}, ("topk",)),
        (OcclusionConfig, {"budgets": ["4", "2", "4"]}, (2, 4)),
        (TaskConfig, {"l1s": ["1", "1.0", "0.3"]}, (1.0, 0.3)),
        (AskConfig, {"judges": ["fuzzing", "fuzzing"]}, ("fuzzing",)),
        (GraphOptions, {"runs": ["a", "b", "a"]}, ("a", "b")),
    ],
)
def test_a_value_given_twice_is_one(made, given, left):
    (name,) = given
    needed = {"prompt": "x"} if made is GraphOptions else {}
    assert getattr(made.parse(given | needed), name) == left


def test_two_ends_of_a_sweep_are_two():
    with pytest.raises(Exception, match="at least 2"):
        OcclusionConfig.parse({"alphas": ["0.5", "0.5"]})
