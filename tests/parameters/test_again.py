"""Components found again by another seed: cosines of matrices of rank one, against these matrices written out."""

import pytest
import torch

from sparselex.parameters.again import BEGINNING, Ranked, Sides, again_figures, mixed, nearest


def drawn(n, d_out=5, d_in=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Ranked(torch.randn(n, d_out, generator=generator), torch.randn(n, d_in, generator=generator))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_cosines_are_those_of_the_matrices_themselves():
    own, other = drawn(6), drawn(9, seed=1)
    whole = [torch.einsum("co,ci->coi", *one).flatten(1) for one in (own, other)]
    slow = torch.nn.functional.cosine_similarity(whole[0][:, None], whole[1][None], dim=-1).amax(-1)
    torch.testing.assert_close(nearest(own, other), slow, rtol=1e-5, atol=1e-6)


def test_order_size_and_a_sign_that_both_turn_do_not_matter_and_one_that_one_turns_does():
    own = drawn(6)
    other = Ranked(-3 * own.U.flip(0), -0.5 * own.V.flip(0))
    torch.testing.assert_close(nearest(own, other), torch.ones(6))
    assert nearest(own, Ranked(own.U, -own.V)).max() < 0.999


def test_what_is_mixed_spans_the_same_and_holds_no_pair_together():
    own = drawn(40, 30, 50)
    other = mixed(own, generator())
    for one, there in zip(own, other, strict=True):
        unit = torch.nn.functional.normalize(one, dim=-1)
        torch.testing.assert_close(torch.linalg.svdvals(there), torch.linalg.svdvals(unit), rtol=1e-4, atol=1e-5)
    assert nearest(own, other).mean() < 0.3


def test_both_ways_have_their_null_and_their_beginning():
    """Thirty components, of which the other has half again beside ten of its own."""
    own, begun = drawn(30, 20, 20), drawn(30, 20, 20, seed=5)
    strange = drawn(10, 20, 20, seed=2)
    other = Ranked(torch.cat([own.U[:15], strange.U]), torch.cat([own.V[:15], strange.V]))
    figures = again_figures("out", Sides(own, begun), Sides(other, drawn(25, 20, 20, seed=6)), generator())
    found = {one.name: one for one in figures}
    assert found["parameters/out/found_share"].value == 0.5 and found["parameters/out/back/found_share"].value == 0.6
    for name, one in found.items():
        assert one.n == (25 if "/back/" in name else 30) and one.ci_low < one.value < one.ci_high
        assert one.null < one.ci_low and one.controls[BEGINNING] < one.ci_low
    again = {one.name: one.value for one in again_figures("out", Sides(own, begun), Sides(own, begun), generator())}
    assert again["parameters/out/nearest_cosine"] == pytest.approx(1.0)


def test_where_nothing_is_live_there_is_no_figure():
    nothing = Sides(drawn(0), drawn(0))
    figures = again_figures("out", Sides(drawn(3), drawn(3)), nothing, generator())
    assert len(figures) == 4 and all(one.value is None and "no live component" in one.failure for one in figures)
