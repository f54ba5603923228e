"""What types answer of themselves: which sites they are made for, what a person's choices set, what is signed."""

import pytest

from sparselex.base.errors import UserError
from sparselex.dictionaries.kinds import DICTIONARIES
from sparselex.dictionaries.table import config_type
from tests.support.dictionaries import CONFIGS, make

FIXED = {"matching_pursuit", "archetypal"}
"""Types of one site that they reconstruct."""


@pytest.mark.parametrize("kind", DICTIONARIES.names())
@pytest.mark.parametrize(
    ("read", "written", "takes"),
    [
        ([12], [], "an autoencoder"),
        ([12], [9], "a transcoder"),
        ([5, 7], [], "a crosscoder"),
        ([5, 7], [6, 3], "a cross-layer transcoder"),
        ([5, 7], [6], "nothing"),
    ],
    ids=lambda value: str(value),
)
def test_sites_give_a_configuration_or_a_reason(kind, read, written, takes):
    config = config_type(kind)
    fits = {"an autoencoder"} if kind in FIXED else {"an autoencoder", "a transcoder", "a crosscoder"}
    if takes not in ({"a cross-layer transcoder"} if kind == "clt" else fits):
        with pytest.raises(UserError):
            config.fields_at(read, written, 4)
        return
    fields = config.fields_at(read, written, 4)
    assert set(fields) <= {*config.from_sites, "d_sae"} and fields["d_sae"] == 48
    k = {"k": 5} if "k" in config.model_fields else {}
    made = config.model_validate(fields | k)
    assert (made.d_in, made.to_json().get("d_out")) == (12, sum(written) or None)


@pytest.mark.parametrize(
    ("kind", "choice", "field"),
    [
        ("batchtopk", "k", "k"),
        ("jumprelu", "k", "target_l0"),
        ("relu", "k", None),
        ("relu", "l1", "l1"),
        ("topk", "skip", "skip"),
        ("archetypal", "skip", None),
        ("clt", "skip", None),
        ("matching_pursuit", "selection", None),
    ],
)
def test_a_choice_sets_the_field_that_the_type_names(kind, choice, field):
    assert config_type(kind).field_of(choice) == field


def test_the_fastest_selection_is_taken_where_there_is_one_to_take():
    chosen = {kind for kind in DICTIONARIES.names() if config_type(kind).selects()}
    assert chosen == {"batchtopk", "topk", "matryoshka", "abstopk", "archetypal", "clt"}


@pytest.mark.parametrize("name", CONFIGS)
def test_signs_and_encoders_are_what_the_codes_say(name):
    dictionary = make(name)
    assert dictionary.signed == (dictionary.config.kind == "abstopk")
    rows = dictionary.encoder_rows()
    assert (rows is None) == (dictionary.config.kind == "matching_pursuit")
    assert rows is None or (rows.shape == (dictionary.d_sae, dictionary.d_in) and not rows.requires_grad)
    assert dictionary.site_scales().shape == (len(dictionary.parts_out),)
