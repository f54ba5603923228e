"""Components one by one, against counting them one by one."""

import torch

from sparselex.parameters.components import Components
from sparselex.parameters.table import N_TOGETHER, component_table


def test_shares_ranges_and_what_is_important_together():
    generator = torch.Generator().manual_seed(0)
    g = {
        name: torch.rand(400, n, generator=generator) * (torch.rand(400, n, generator=generator) < 0.3)
        for name, n in (("in", 5), ("out", 12))
    }
    g["out"][:, 4] = g["in"][:, 2]
    g["out"][:, 5] = 0.0
    parts = {
        name: Components(
            torch.randn(3, 4, generator=generator), torch.randn(one.shape[1], 4, generator=generator), 2, generator
        )
        for name, one in g.items()
    }
    found = component_table(parts, g)
    assert found.n_inputs == 400 and [len(one) for one in found.matrices.values()] == [5, 12]
    for name, those in found.matrices.items():
        for number, one in enumerate(those):
            column = g[name][:, number]
            assert one.number == number and sum(one.histogram) == 400
            assert abs(one.share - float((column > 0.1).double().mean())) < 1e-12
            assert one.histogram[0] == int((column == 0).sum())
            assert one.histogram[3] == int(((column > 0.2) & (column <= 0.3)).sum())
            assert abs(one.size - float(parts[name].U[number].detach().norm())) < 1e-6
            assert len(one.together) <= N_TOGETHER and all(other.matrix != name for other in one.together)
            for other in one.together:
                beside = g[other.matrix][:, other.number] > 0.1
                assert other.n == int(((column > 0.1) & beside).sum()) > other.expected
                assert abs(other.expected - 400 * one.share * float(beside.double().mean())) < 1e-3
    assert found.matrices["in"][2].together[0].number == 4
    assert not found.matrices["out"][5].live and found.matrices["out"][5].together == []


def test_one_matrix_has_nothing_beside_it():
    one = Components(torch.eye(3), torch.eye(3), 2, torch.Generator().manual_seed(0))
    found = component_table({"w": one}, {"w": torch.rand(50, 3)})
    assert all(each.together == [] for each in found.matrices["w"])
