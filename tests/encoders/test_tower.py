"""The user tower asked at one place of each history says what it says there when asked everywhere."""

import pytest
import torch

from encoders.tower import UserTower


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_one_place_is_what_it_is_among_all(layers):
    torch.manual_seed(4)
    tower = UserTower(12, width=16, heads=2, layers=layers, dropout=0.0, kinds=3)
    for value in tower.parameters():  # biases of steps, ages and kinds begin at zero, and would hide behind it
        torch.nn.init.normal_(value, std=0.3)
    v, mask = torch.randn(5, 7, 12), torch.arange(7)[None, :] < torch.tensor([7, 3, 1, 5, 6])[:, None]
    weights, kinds = torch.randint(0, 5, (5, 7)), torch.randint(0, 4, (5, 7))
    between = torch.randint(0, 6, (5, 7, 7))
    at = torch.tensor([6, 1, 0, 2, 5])
    row = torch.arange(5)
    for everywhere, there in zip(
        tower.states(v, weights, kinds, between, mask), tower.states(v, weights, kinds, between, mask, at), strict=True
    ):
        assert there.shape[1] == 1
        torch.testing.assert_close(there[:, 0], everywhere[row, at])
