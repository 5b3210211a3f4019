"""The static kind: which tokens make a text's vector while it learns and after."""

import pytest
import torch

from encoders.lexical import catalogue_tokens
from encoders.static import StaticEncoder

TEXTS = [" ".join(f"word{n}" for n in range(start, start + 40)) for start in range(0, 80, 20)]
ROWS = torch.arange(len(TEXTS))


def encoder(token_dropout: float) -> StaticEncoder:
    torch.manual_seed(3)
    tokenizer, vectors = catalogue_tokens(TEXTS, 16, seed=0)
    return StaticEncoder(tokenizer, vectors, TEXTS, token_dropout=token_dropout)


def test_tokens_are_left_unread_while_it_learns_and_never_after():
    some, all_of_them = encoder(0.5), encoder(0.0)
    whole = all_of_them.train().vectors(ROWS)
    first, second = some.train().vectors(ROWS), some.vectors(ROWS)
    assert not torch.allclose(first, second)
    assert not torch.allclose(first, whole)
    torch.testing.assert_close(some.eval().vectors(ROWS), whole)


def test_tokens_that_are_not_read_learn_nothing():
    some = encoder(0.5).train()
    some.vectors(ROWS[:1]).sum().backward()
    assert some.learned.grad is not None
    moved = int((some.learned.grad[some.tokens[: some.lengths[0]]].abs().sum(dim=1) > 0).sum())
    assert 5 < moved < 35  # of 40, each with an even chance


def test_a_text_may_lose_all_its_tokens():
    tokenizer, vectors = catalogue_tokens(TEXTS, 16, seed=0)
    some = StaticEncoder(tokenizer, vectors, ["word1"], token_dropout=0.9).train()
    torch.manual_seed(0)
    drawn = [float(some.vectors(torch.tensor([0])).detach().norm()) for _ in range(40)]
    assert {round(norm, 4) for norm in drawn} == {0.0, 1.0}


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_cold_rows_forget_what_they_alone_have_taught_with_tokens_left_unread(share):
    some, untaught = encoder(share).train(), encoder(share).train()
    alone = some.own_share == 1  # tokens that one text holds
    with torch.no_grad():
        some.learned[alone] = 1.0
    cold = torch.tensor([True, False, True, True])
    drawn = []
    for each in (some, untaught):
        torch.manual_seed(1)
        drawn.append(each.vectors(ROWS, cold=cold).detach())
    torch.testing.assert_close(drawn[0][cold], drawn[1][cold])
    taught = (alone[some.tokens].split(some.lengths.tolist())[3]).any()
    assert taught  # the last text has words of its own, so the above is no matter of course


def test_warm_rows_keep_what_they_alone_have_taught():
    some, untaught = encoder(0.5).train(), encoder(0.5).train()
    with torch.no_grad():
        some.learned[some.own_share == 1] = 1.0
    drawn = []
    for each in (some, untaught):
        torch.manual_seed(1)
        drawn.append(each.vectors(ROWS, cold=torch.zeros(len(ROWS), dtype=torch.bool)).detach())
    assert not torch.allclose(drawn[0][0], drawn[1][0])
