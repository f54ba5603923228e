"""Splitting: planted splits and merges are found, what is only often active is no parent, and shuffled nothing is."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from sparselex.atlas.splitting.config import SplittingConfig
from sparselex.atlas.splitting.dictionaries import Dictionary
from sparselex.atlas.splitting.families import families, without_groups
from sparselex.atlas.splitting.links import Links, find_links, held, highest_links, link_blocks
from sparselex.atlas.splitting.walk import splitting

N_TOKENS, N_GROUPS = 4000, 8
GROUPS = np.arange(N_TOKENS) * N_GROUPS // N_TOKENS


def activity(n_latents=20, n_tokens=N_TOKENS, share=0.03, seed=0):
    """`[n_latents, n_tokens]`, each latent active at random."""
    rng = np.random.default_rng(seed)
    return ((rng.random((n_latents, n_tokens)) < share) * rng.uniform(0.5, 3, (n_latents, n_tokens))).astype(np.float32)


def slow(x, y):
    """The larger of two cosines, of the tokens on which either is active."""
    cosines = [
        x[there] @ y[there] / (np.linalg.norm(x[there]) * np.linalg.norm(y[there]))
        for there in (x != 0, y != 0)
        if np.linalg.norm(x[there]) and np.linalg.norm(y[there])
    ]
    return max(map(abs, cosines), default=0.0)


def planted(seed=0):
    """A narrow dictionary whose latent 3 is two wide ones and whose latents 5 and 6 are one, among others."""
    narrow, wide = activity(seed=seed), activity(40, seed=seed + 50)
    wide[:20] = narrow
    places = np.flatnonzero(narrow[3])
    for number, part in enumerate((places[::2], places[1::2])):
        wide[3 + 20 * number] = 0
        wide[3 + 20 * number, part] = narrow[3, part]
    wide[5] = narrow[5] + narrow[6]
    wide[6] = 0
    wide[6, ::97] = 1
    return csr_array(narrow), csr_array(wide)


@pytest.mark.parametrize("sign", [1, -1])
def test_links_are_what_a_slow_computation_gives(monkeypatch, sign):
    monkeypatch.setattr("sparselex.atlas.splitting.links._BLOCK", 7 * 40)
    monkeypatch.setattr("sparselex.atlas.splitting.links._CHUNK", 16)
    narrow, wide = planted()
    wide = wide * sign
    blocks = list(link_blocks(narrow, wide))
    assert [start for start, _ in blocks] == [0, 7, 14]
    whole = np.concatenate([block for _, block in blocks])
    dense = narrow.toarray(), wide.toarray()
    expected = np.array([[slow(x, y) for y in dense[1]] for x in dense[0]])
    np.testing.assert_allclose(whole, expected, atol=1e-5)
    np.testing.assert_allclose(highest_links(narrow, wide), expected.max(axis=1), atol=1e-5)
    links = find_links(narrow, wide, 0.2)
    found = held(narrow, wide, links, GROUPS, N_GROUPS)
    np.testing.assert_allclose(found.value, links.value, atol=1e-5)
    rest = GROUPS != 3
    for place, (i, j) in enumerate(zip(links.narrow, links.wide, strict=True)):
        assert found.without[3, place] == pytest.approx(slow(dense[0][i, rest], dense[1][j, rest]), abs=1e-5)


def test_a_planted_split_and_a_planted_merge_are_found():
    narrow, wide = planted()
    links = find_links(narrow, wide, 0.4)
    found = families(links, 20, 40)
    assert links.wide[links.narrow == 3].tolist() == [3, 23] and found.children[3] == found.led[3] == 2
    assert links.narrow[links.wide == 5].tolist() == [5, 6] and found.parents[5] == 2
    others = [latent for latent in range(20) if latent not in (3, 5, 6)]
    assert (found.children[others] == 1).all() and (found.parents[24:] == 0).all()
    assert found.led.sum() == (found.parents > 0).sum(), "each wide latent that has a parent has one strongest"


def test_a_latent_that_is_often_active_is_no_parent_of_all():
    """It is like each of them where that is active; the highest link of the null is as high."""
    narrow, wide = planted()
    dense = narrow.toarray()
    dense[0] = np.random.default_rng(0).uniform(0.9, 1.1, N_TOKENS) * (np.random.default_rng(1).random(N_TOKENS) < 0.7)
    narrow, away = csr_array(dense), csr_array(np.roll(dense, 1700, axis=1))
    assert (find_links(narrow, wide, 0.4).narrow == 0).sum() > 30
    least = np.maximum(0.4, highest_links(away, wide))
    assert (find_links(narrow, wide, least).narrow == 0).sum() <= 3


def test_families_without_a_group_follow_the_links_without_it():
    links = Links(np.array([0, 0, 1]), np.array([0, 1, 1]), np.array([0.9, 0.8, 0.6]))
    whole = families(links, 2, 3)
    assert (whole.children.tolist(), whole.led.tolist(), whole.parents.tolist()) == ([2, 1], [2, 0], [1, 2, 0])
    values = np.array([[0.9, 0.8, 0.6], [0.9, 0.3, 0.6]])
    (same, other) = without_groups(links, values, np.full(3, 0.4), 2, 3)
    assert same.children.tolist() == [2, 1]
    assert (other.children.tolist(), other.led.tolist()) == ([1, 1], [1, 1])


@pytest.fixture(scope="module")
def itself(small_index, tmp_path_factory):
    """The small index beside itself, three times."""
    levels = [Dictionary(name, small_index) for name in ("one", "two", "three")]
    to = tmp_path_factory.mktemp("splitting") / "splitting"
    return splitting(levels, SplittingConfig(least_active=10), to, inputs={"of": "it"})


def test_a_dictionary_beside_itself_keeps_its_latents(itself, small_index):
    (step, _), table = itself.found.steps, itself.latents(0)
    compared = np.flatnonzero(table["children"] >= 0)
    assert len(compared) == step.n_narrow == step.n_wide > 20
    assert (table["children"][compared] >= 1).all(), "each is linked to itself"
    for latent in compared.tolist():
        found = itself.children(0, latent)
        assert latent in found.latent and found.link[found.latent == latent][0] == pytest.approx(1, abs=1e-3)
        assert (np.diff(found.link) <= 1e-6).all()
        assert latent in itself.parents(1, latent).latent and not len(itself.parents(0, latent).latent)
    assert step.figure("kept").value == 1 and step.figure("children").null < 1
    among, children = step.figure("siblings").value, step.figure("children")
    assert among == children.value - 1 and children.controls == {"siblings": among}, "all but itself"
    close, split = step.figure("close_children"), step.figure("close_split")
    assert close.value == close.controls["siblings"] + 1 and 1 >= split.value >= split.controls["siblings"]
    assert step.figure("held").value > 0.5 and sum(step.spread.values()) == step.n_narrow
    assert not len(itself.children(2, int(compared[0])).latent) and (itself.latents(2)["parents"] >= -1).all()


def test_parents_and_children_are_the_same_links(itself):
    links = itself.links(0)
    assert len(links["narrow"]) == itself.found.steps[0].n_links
    for narrow, wide, link in zip(*(links[name][:50] for name in ("narrow", "wide", "link")), strict=True):
        back = itself.parents(1, int(wide))
        assert back.link[back.latent == narrow][0] == link
    assert itself.found.level_of("two") == 1 and itself.found.level_of("nobody") is None
