"""Groups of latents, held against links that are looked up one by one."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sparselex.evaluate.manifolds.groups import groups_of, links


def slow_links(rows, n_nearest, least):
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    found = set()
    for latent, row in enumerate(units):
        cosines = units @ row
        cosines[latent] = -2
        for other in np.argsort(-cosines)[:n_nearest]:
            if cosines[other] > least:
                found.add((min(latent, int(other)), max(latent, int(other))))
    return found


def near_rows(n=300, d=12):
    rng = np.random.default_rng(0)
    middles = rng.normal(size=(40, d))
    return middles[rng.integers(0, 40, n)] + 0.35 * rng.normal(size=(n, d))


def test_links_are_the_nearest_rows():
    rows = near_rows()
    pairs, cosines = links(rows, 2, 0.5)
    assert {tuple(pair) for pair in pairs.tolist()} == slow_links(rows, 2, 0.5) and len(pairs) == len(
        set(map(tuple, pairs))
    )
    assert cosines.min() > 0.5


def test_groups_are_connected_components_where_none_is_too_large():
    rows = near_rows()
    linked = links(rows, 2, 0.5)
    found = groups_of(linked, len(rows), 300)
    graph = coo_array((np.ones(len(linked[0])), linked[0].T), shape=(300, 300))
    labels = connected_components(graph, directed=False)[1]
    expected = {frozenset(np.flatnonzero(labels == label).tolist()) for label in set(labels)}
    assert {frozenset(one.tolist()) for one in found} == {one for one in expected if len(one) > 1}
    assert [len(one) for one in found] == sorted((len(one) for one in found), reverse=True)


def test_no_group_is_larger_than_asked_for_and_the_strongest_links_are_kept():
    rows = near_rows()
    pairs, cosines = links(rows, 2, 0.5)
    found = groups_of((pairs, cosines), len(rows), 4)
    assert max(map(len, found)) == 4
    strongest = set(pairs[cosines.argmax()].tolist())
    assert any(strongest <= set(one.tolist()) for one in found)


def test_a_zero_row_and_a_single_latent_are_near_nothing():
    rows = np.eye(4)
    rows[3] = 0
    assert len(links(rows, 2, 0.5)[0]) == 0 and groups_of(links(rows, 2, 0.5), 4, 9) == []
    assert len(links(np.ones((1, 3)), 2, 0.5)[0]) == 0
