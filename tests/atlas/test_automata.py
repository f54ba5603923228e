"""Finite-state automata: a planted process of two states is found, in a shuffled text it is not."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from sparselex.atlas.automata.chosen import chosen, confirmed, looked_at
from sparselex.atlas.automata.config import AutomataConfig
from sparselex.atlas.automata.graph import circles, merged
from sparselex.atlas.automata.leads import Leads, known_of, raised_next, scale_of, surprise, weights
from sparselex.atlas.automata.stream import Places, places_of, rotation, stream_of
from sparselex.atlas.automata.walk import automata_of, raised_tokens
from sparselex.base.errors import UserError
from tests.support.planted import N_CTX, PlantedIndex, part
from tests.support.processes import N_LATENTS, N_VOCAB, raised, stream

CONFIG = AutomataConfig(n_tokens_raised=3, least_pairs=40, least_documents=5.0)


@pytest.fixture(scope="module")
def train():
    return stream(60, seed=1)


@pytest.fixture(scope="module")
def test():
    return stream(30, seed=2)


@pytest.fixture(scope="module")
def found(train, test):
    return automata_of(train, test, raised(), "logits", N_VOCAB, CONFIG)


def figure(found, name):
    return next(one for one in found.figures if one.name == f"automata/{name}")


def test_the_planted_automaton_is_found(found):
    (automaton,) = [one for one in found.automata if len(one.states) > 1]
    assert sorted(automaton.latents) == [0, 1, 2] and automaton.strength > 0.5
    pairs = {(lead.source, lead.target) for lead in found.leads}
    assert pairs == {(0, 1), (1, 0), (2, 1), (1, 2)}
    for lead in found.leads:  # of scales a hundred times apart, of one size: a latent is active on nine in ten
        assert lead.train == pytest.approx(0.65, abs=0.25) and lead.test == pytest.approx(lead.train, abs=0.15)
        assert abs(lead.test - lead.token_alone) < 0.1, "these latents look at nothing but the token"
        assert {one.token for one in lead.carriers} <= {1, 2, 3, 4, 5, 6}
        assert sum(one.share for one in lead.carriers) == pytest.approx(1)
    assert found.sources[0].train > 0.8 and found.sources[0].test > 0.8


def test_a_shuffled_text_has_none(test):
    shuffled = automata_of(
        stream(60, seed=1, shuffled=True), stream(30, seed=2, shuffled=True), raised(), "logits", N_VOCAB, CONFIG
    )
    assert shuffled.n_sources > 2 and shuffled.n_unsurprising == shuffled.n_sources
    assert (shuffled.n_chosen, shuffled.n_leads, shuffled.automata) == (0, 0, [])
    assert figure(shuffled, "automata").value == 0 and figure(shuffled, "confirmed_share").failure


def test_what_test_documents_do_not_have_is_not_confirmed(train):
    elsewhere = automata_of(train, stream(30, seed=2, shuffled=True), raised(), "logits", N_VOCAB, CONFIG)
    assert elsewhere.n_chosen == 4 and elsewhere.n_leads == 0 and elsewhere.automata == []
    assert sum(elsewhere.unconfirmed.values()) == 4 and figure(elsewhere, "confirmed_share").value == 0


def test_figures_stand_beside_a_shuffled_text(found):
    assert [figure(found, name).value for name in ("leads", "self_loops", "automata", "states")] == [4, 0, 1, 3]
    assert all(one.null == 0 and one.definition for one in found.figures)
    assert figure(found, "confirmed_share").value == 1
    assert figure(found, "leading_share").n == found.n_sources


def test_duplicates_are_one_state(train, test):
    directions = np.eye(N_LATENTS)
    directions[2] = directions[0] + 0.1 * directions[5]
    found = automata_of(train, test, raised(), "logits", N_VOCAB, CONFIG, directions)
    (automaton,) = found.automata
    assert sorted(sorted(state.latents) for state in automaton.states) == [[0, 2], [1]]
    assert {(arrow.source, arrow.target) for arrow in automaton.arrows} == {(0, 1), (1, 0)}
    best = max(lead.train for lead in found.leads if lead.target == 1)
    assert max(arrow.lead.train for arrow in automaton.arrows if arrow.lead.target == 1) == best


def test_the_same_seed_finds_the_same(train, test, found):
    assert automata_of(train, test, raised(), "logits", N_VOCAB, CONFIG) == found
    other = automata_of(train, test, raised(), "logits", N_VOCAB, CONFIG.model_copy(update={"seed": 1}))
    assert other.train != found.train and other.n_leads == found.n_leads


def test_weights_and_surprise_as_computed_by_hand(train):
    own = raised()
    places = places_of(train, 10**6)
    hits = places.of(raised_next(places, train.tokens[places.next], own))
    known, rotated = known_of(train, N_VOCAB), rotation(train, np.random.default_rng(3))
    scale = scale_of(known, 1, 1.0)
    acts, tokens, documents = train.by_token.toarray(), train.tokens, train.documents
    means = np.stack([acts[documents == one].mean(0) for one in range(train.n_documents)])
    for text in (np.arange(len(tokens)), rotated):
        (parts,) = weights(known, hits, np.array([1, 4]), scale, [text])
        for source in (1, 4):
            at = [t + 1 for t in np.flatnonzero(train.goes_on & (acts[:, source] > 0)) if tokens[t + 1] in own[source]]
            wanted = (acts[text[at]].mean(0) - means[documents[at]].mean(0)) / scale
            one = parts[0].of(parts[0].source == source)
            np.testing.assert_allclose(one.weight, wanted[one.target], rtol=1e-4, atol=1e-6)
            assert set(one.target) == set(np.flatnonzero(wanted > 1e-9))
    now = surprise(known, places, own, [np.arange(len(tokens)), rotated])
    for text, row in zip((np.arange(len(tokens)), rotated), now, strict=True):
        active = np.flatnonzero(train.goes_on & (acts[:, 4] > 0))
        follows = np.isin(tokens[text[active + 1]], own[4]).sum()
        expected = sum(np.isin(tokens[documents == one], own[4]).mean() for one in documents[active])
        assert row[4] == pytest.approx((follows - expected) / np.sqrt(expected + 1))


def test_a_rotation_keeps_documents_and_what_is_near(train):
    moved = rotation(train, np.random.default_rng(0))
    assert sorted(moved) == [*range(len(moved))] and (train.documents[moved] == train.documents).all()
    inside = train.goes_on
    assert (np.diff(moved)[inside[:-1]] == 1).mean() > 0.98  # but where a document goes on at its beginning
    assert (rotation(train, None) == np.arange(len(moved))).all() and (moved != np.arange(len(moved))).mean() > 0.9


def test_large_circles_are_taken_apart_at_their_weakest_leads():
    source = np.array([0, 1, 1, 2, 2, 3, 3, 0, 5, 6])
    target = np.array([1, 0, 2, 3, 1, 2, 0, 3, 6, 5])
    weight = np.array([2.0, 2.0, 0.5, 3.0, 0.4, 3.0, 0.3, 0.6, 1.0, 0.9])
    leads = Leads(source, target, weight)
    whole = circles(leads, 8)
    assert [one.latents.tolist() for one in whole] == [[5, 6], [0, 1, 2, 3]]
    assert [one.strength for one in whole] == [0.9, 0.4]
    apart = circles(leads, 2)
    assert [(one.latents.tolist(), one.strength) for one in apart] == [([2, 3], 3.0), ([0, 1], 2.0), ([5, 6], 0.9)]
    assert circles(leads.of(np.array([0])), 8) == [] == circles(leads.of(np.array([], dtype=int)), 8)
    assert merged(np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]], dtype=bool)) == [[0, 2], [1]]


def test_pairs_cross_neither_rows_nor_documents():
    index = PlantedIndex()
    found = stream_of(index, "train", 10**9)
    rows = part("train")
    assert len(found.tokens) == index.counted[rows].sum()
    np.testing.assert_array_equal(found.by_token.toarray(), index.acts[rows][index.counted[rows]].astype(np.float32))
    assert found.goes_on.sum() == 80 * (N_CTX - 2), "the last token of a row has none behind it, the first is no text"
    places = places_of(found, 3)
    assert np.bincount(places.latents, minlength=index.d_sae).tolist() == [3, 3, 3, 3, 0]
    assert found.goes_on[places.next - 1].all()
    assert (found.by_latent[places.latents, places.next - 1] > 0).all()
    few = stream_of(index, "train", 200)
    assert 150 < len(few.tokens) <= 200 and len(np.unique(few.documents)) > 5


def test_an_index_that_cannot_tell_is_refused(tmp_path):
    class Silent(PlantedIndex):
        path, all_promoted, relations = tmp_path, None, SimpleNamespace(following=None)

    with pytest.raises(UserError, match="neither logit effects nor what follows"):
        raised_tokens(Silent(), 3)
    Silent.relations = SimpleNamespace(following=np.array([[5, 6, -1]]))
    assert raised_tokens(Silent(), 2)[1] == "following"
    sampled = Silent()
    sampled.sampled = True
    with pytest.raises(UserError, match="keeps a sample"):
        stream_of(sampled, "train", 10)


def test_a_rare_pair_is_looked_at_neither_here_nor_there(train, test):
    split = looked_at(train, raised(), N_VOCAB, CONFIG, "train")
    strict = CONFIG.model_copy(update={"least_pairs": 10**6})
    assert len(chosen(split, strict).sources) == 0 and len(chosen(split, strict).leads.source) == 0
    few = CONFIG.model_copy(update={"least_confirming": 10**6})
    sure = confirmed(chosen(split, CONFIG), looked_at(test, raised(), N_VOCAB, CONFIG, "test"), few)
    assert len(sure.leads.source) == 0 and sum(sure.unconfirmed.values()) == 4


def test_a_table_in_one_document_leads_nowhere():
    """Two latents that are active in one document alone go together there by nothing but the document."""
    n, size = 30, 50
    documents = np.repeat(np.arange(n), size)
    acts = np.zeros((n * size, 2), dtype=np.float32)
    acts[:size] = 1.0
    codes = csr_matrix(acts)
    known = known_of(
        stream(1, 0)._replace(
            tokens=np.zeros(n * size, dtype=np.int64),
            documents=documents,
            goes_on=np.append(documents[1:] == documents[:-1], False),
            by_latent=codes.T.tocsr(),
            by_token=codes,
        ),
        2,
    )
    assert np.isinf(scale_of(known, 10, 2.0)).all() and (scale_of(known, 10, 1.0) == 1).all()
    hits = Places(np.zeros(size - 1, dtype=np.int64), np.arange(1, size))
    ((found,),) = weights(known, hits, np.array([0]), np.ones(2), [np.arange(n * size)])
    assert len(found.weight) == 0, "no more than in the document as a whole"
