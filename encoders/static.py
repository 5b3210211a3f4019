"""How are token vectors tuned? The `static` kind: a weighted mean of token vectors."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor, nn
from torch.nn import functional

from encoders.errors import ModelFolderError
from encoders.interest import STATIC_PARTS, TOKEN_VECTORS, TOKENIZER, token_ids
from encoders.to_device import sent

if TYPE_CHECKING:
    from tokenizers import Tokenizer

log = logging.getLogger(__name__)


class StaticEncoder(nn.Module):
    """Token vectors = base + what was learned, weighted, summed and projected; rows of unit length.

    The projection is shared, so that tokens never met in training move along with the others. Token weights begin at
    the catalogue's inverse document frequency. Only tokens of the catalogue learn; all others are kept for new texts.
    """

    kind = "static"
    forgets = True
    tokens: Tensor
    lengths: Tensor
    starts: Tensor
    own_share: Tensor
    base: Tensor

    def __init__(
        self,
        tokenizer: Tokenizer,
        token_vectors: NDArray[np.float32],
        texts: Sequence[str],
        *,
        max_tokens: int = 256,
        token_dropout: float = 0.0,
        tuned: bool = True,
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self.token_dropout = token_dropout
        self.dim = token_vectors.shape[1]
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length=max_tokens)
        ids = [one for part in token_ids(tokenizer, texts) for one in part]
        lengths = np.array([len(one) for one in ids], dtype=np.int64)
        flat = np.concatenate(ids) if ids else np.zeros(0, np.int64)
        met = np.bincount(flat, minlength=1) > 0
        self.vocabulary = np.flatnonzero(met)
        local = (np.cumsum(met) - 1)[flat]
        held = _holders(local, lengths, len(self.vocabulary))
        self._all_vectors = token_vectors
        self._rest_weight = float(_idf(len(ids), 0))
        idf = _idf(len(ids), held)
        self.register_buffer("tokens", torch.from_numpy(local.astype(np.int64)), persistent=False)
        self.text_lengths = lengths
        self.register_buffer("lengths", torch.from_numpy(lengths), persistent=False)
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]) if len(lengths) else lengths
        self.register_buffer("starts", torch.from_numpy(starts.astype(np.int64)), persistent=False)
        self.register_buffer(
            "own_share", torch.from_numpy((1 / np.maximum(held, 1)).astype(np.float32)), persistent=False
        )
        self.register_buffer("base", torch.from_numpy(token_vectors[self.vocabulary]), persistent=False)
        self.learned = nn.Parameter(torch.zeros(len(self.vocabulary), self.dim))
        self.log_weight = nn.Parameter(torch.from_numpy(np.log(np.maximum(idf, 0.05)).astype(np.float32)))
        self.project = nn.Parameter(torch.eye(self.dim))
        self.requires_grad_(tuned)

    @property
    def module(self) -> nn.Module:
        """The encoder is its own module."""
        return self

    def vectors(self, rows: Tensor, *, cold: Tensor | None = None) -> Tensor:
        """Return unit vectors of catalogue rows; in a cold row each token forgets with the item's own share of it.

        A token that `n` items hold has learned from this one about `1 / n` of what it knows: with that probability its
        learned part is left out, and always when the item is the only one to hold it, as it will be for a new item.

        While it learns, a share `token_dropout` of all tokens is not read, so that no word alone stands for its item
        (Iyyer et al., Deep unordered composition rivals syntactic methods for text classification, ACL 2015).
        """
        index, bag = self._gather(rows)
        tokens = self.tokens[index]
        if self.training and self.token_dropout:
            read = torch.rand(len(tokens), device=tokens.device) >= self.token_dropout
            tokens, bag = tokens[read], bag[read]
        weight = self.log_weight.exp()[:, None]
        learned = self.learned * weight
        total = _sum_by_text(self.base * weight + learned, tokens, bag, len(rows))
        if cold is not None and self.training:
            forgets = cold[bag] & (torch.rand(len(tokens), device=tokens.device) < self.own_share[tokens])
            total = total - _sum_by_text(learned, tokens[forgets], bag[forgets], len(rows))
        return functional.normalize(total @ self.project.T, dim=1, eps=1e-6)

    def groups(self, rate: float) -> Iterator[dict[str, Any]]:
        """Yield the token table, its weights and the projection; nothing where the text is frozen."""
        if not self.learned.requires_grad:
            return
        yield {"params": [self.learned], "lr": rate, "weight_decay": 0.01}
        yield {"params": [self.log_weight, self.project], "lr": rate, "weight_decay": 0.0}

    def save(self, folder: Path) -> dict[str, Any]:
        """Write tokenizer, one float16 vector a token (weight and projection folded in) and the parts to go on from."""
        with torch.no_grad():
            project = self.project.detach().cpu()
            table = torch.from_numpy(self._all_vectors * np.float32(self._rest_weight)) @ project.T
            own = (self.base + self.learned).detach().cpu() * self.log_weight.detach().cpu().exp()[:, None]
            table[torch.from_numpy(self.vocabulary)] = own @ project.T
        scale = max(float(table.abs().max()), 1e-6) / 100  # the rows are summed and normed: any common scale will do
        np.save(folder / TOKEN_VECTORS, (table / scale).numpy().astype(np.float16))
        self.tokenizer.save(str(folder / TOKENIZER))
        np.savez(
            folder / STATIC_PARTS,
            vocabulary=self.vocabulary,
            learned=self.learned.detach().cpu().numpy().astype(np.float16),
            log_weight=self.log_weight.detach().cpu().numpy(),
            project=project.numpy(),
        )
        return {"kind": self.kind, "dim": self.dim, "max_tokens": self.max_tokens}

    def start_from(self, folder: Path) -> None:
        """Take over what each token has learned; tokens that are new in this catalogue begin at the base.

        Tokens are known by their strings: in a tokenizer made from the catalogue, more items give them other numbers.
        """
        from tokenizers import Tokenizer

        try:
            with np.load(folder / STATIC_PARTS, allow_pickle=False) as stored:
                earlier = Tokenizer.from_file(str(folder / TOKENIZER))
                here, there = _in_both(self.tokenizer, self.vocabulary, earlier, stored["vocabulary"])
                learned, weight = stored["learned"].astype(np.float32)[there], stored["log_weight"][there]
                known, project = len(stored["vocabulary"]), stored["project"]
        except (OSError, EOFError, BadZipFile, ValueError, KeyError) as error:
            raise ModelFolderError(f"{folder}: wanted a trained static encoder, got {error}; train anew") from error
        if project.shape != tuple(self.project.shape):
            raise ModelFolderError(
                f"{folder}: wanted vectors of {self.dim}, got {project.shape[0]}; train anew or set the same dim"
            )
        if known and len(self.vocabulary) and not len(here):
            raise ModelFolderError(
                f"{folder}: wanted tokens of the present catalogue, got {known} of which it has none; "
                "train anew or set the same base"
            )
        with torch.no_grad():
            self.learned[torch.from_numpy(here)] = torch.from_numpy(learned)
            self.log_weight[torch.from_numpy(here)] = torch.from_numpy(weight)
            self.project.copy_(torch.from_numpy(project))
        log.info("continue from=%s tokens=%d of %d", folder, len(here), len(self.vocabulary))

    def _gather(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        total = int(self.text_lengths[rows.numpy()].sum())
        rows = sent(rows, self.lengths.device)
        lengths = self.lengths[rows]
        bag = torch.repeat_interleave(torch.arange(len(rows), device=rows.device), lengths, output_size=total)
        first = (self.starts[rows] - (lengths.cumsum(0) - lengths))[bag]
        return first + torch.arange(len(bag), device=rows.device), bag


def _in_both(
    tokenizer: Tokenizer, ids: NDArray[np.int64], other: Tokenizer, other_ids: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the places of the tokens that both lists hold, in the first [n] and in the second [n]."""
    place = {tokenizer.id_to_token(token): n for n, token in enumerate(ids.tolist())}
    found = [(place.get(other.id_to_token(token), -1), n) for n, token in enumerate(other_ids.tolist())]
    here, there = np.array([pair for pair in found if pair[0] >= 0], np.int64).reshape(-1, 2).T
    return here, there


def _idf(n_texts: int, held: NDArray[np.int64] | int) -> NDArray[np.float64]:
    """Return the inverse document frequency of tokens that `held` of the texts hold, smoothed."""
    return np.asarray(np.log((2 + n_texts) / (1 + held)), np.float64)


def _holders(tokens: NDArray[np.int64], lengths: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Return how many texts hold each token, once or more [n]."""
    ends = np.concatenate([[0], np.cumsum(lengths)])
    by_text = csr_matrix((np.ones(len(tokens), np.int8), tokens.astype(np.int32), ends), shape=(len(lengths), n))
    by_text.sum_duplicates()
    return np.bincount(by_text.indices, minlength=n)


def _sum_by_text(table: Tensor, tokens: Tensor, bag: Tensor, n: int) -> Tensor:
    out: Tensor = _SumByText.apply(table, tokens, bag, n)  # type: ignore[no-untyped-call]
    return out


class _SumByText(torch.autograd.Function):
    """Sum rows of a token table by text, as a sparse product: several times faster than an embedding bag on a CPU."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, tokens: Tensor, bag: Tensor, n: int) -> Tensor:
        """Return [n, dim]; `bag`, ascending, is the text of each token."""
        ctx.save_for_backward(tokens, bag)
        ctx.shape = (n, len(table))
        return _sparse(bag, tokens, (n, len(table))) @ table

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        """Return the table's gradient: the transposed product."""
        tokens, bag = ctx.saved_tensors
        n, size = ctx.shape
        order = torch.argsort(tokens, stable=True)
        return _sparse(tokens[order], bag[order], (size, n)) @ grads[0].contiguous(), None, None, None


def _sparse(rows: Tensor, columns: Tensor, shape: tuple[int, int]) -> Tensor:
    starts = torch.zeros(shape[0] + 1, dtype=torch.int64, device=rows.device)
    starts[1:] = torch.bincount(rows, minlength=shape[0]).cumsum(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its own CSR support beta, at each process once
        return torch.sparse_csr_tensor(
            starts, columns, torch.ones(len(columns), device=rows.device), shape, check_invariants=False
        )
