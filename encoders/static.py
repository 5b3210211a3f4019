"""How are token vectors distilled from a base and tuned? The `static` kind: a weighted mean of token vectors."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor, nn
from torch.nn import functional

from encoders.base import Base, load_sentence_transformer
from encoders.errors import ModelFolderError
from encoders.interest import TOKEN_VECTORS, TOKENIZER, token_ids, unit_rows
from encoders.lexical import catalogue_tokens
from ingest.progress import Progress, silent

if TYPE_CHECKING:
    from tokenizers import Tokenizer

log = logging.getLogger(__name__)

_PARTS = "static.npz"
_FORMAT = "1"


def distil(
    base: Base,
    texts: Sequence[str],
    dim: int,
    *,
    own_direction: float = 0.0,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[Tokenizer, NDArray[np.float32]]:
    """Return a tokenizer and token vectors [tokens, dim] of the base, of length one.

    Each token goes through the base alone and the principal components are kept, as model2vec does; a base that is
    static already gives its own vectors. Kept in the user's cache folder, since it takes long and depends on the base
    alone. Words matter as well as meaning, so each vector is `own_direction` of a random direction that no other token
    has, and the rest is meaning: the product of two texts then counts the words they share beside what these mean.
    """
    tokenizer, vectors = _meaning(base, texts, dim, seed, progress)
    return tokenizer, _with_own_directions(vectors, own_direction)


def _meaning(
    base: Base, texts: Sequence[str], dim: int, seed: int, progress: Progress
) -> tuple[Tokenizer, NDArray[np.float32]]:
    if base.folder is None:
        return catalogue_tokens(texts, dim, seed=seed)
    from tokenizers import Tokenizer

    kept = _cache_folder() / f"{_fingerprint(base.folder)}-{dim}"
    if not (kept / "vectors.npy").is_file():
        tokenizer, vectors = _distil(base.folder, dim, progress)
        _keep(kept, tokenizer, vectors)
        return tokenizer, vectors
    return Tokenizer.from_file(str(kept / TOKENIZER)), np.load(kept / "vectors.npy")


class StaticEncoder(nn.Module):
    """Token vectors = base + what was learned, weighted, summed and projected; rows of unit length.

    The projection is shared, so that tokens never met in training move along with the others. Token weights begin at
    the catalogue's inverse document frequency. Only tokens of the catalogue learn; all others are kept for new texts.
    """

    kind = "static"
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
        tuned: bool = True,
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
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
        self._rest_weight = float(np.log((2 + len(ids)) / 1.0))
        idf = np.log((2 + len(ids)) / (1 + held))
        self.register_buffer("tokens", torch.from_numpy(local.astype(np.int64)), persistent=False)
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
        """
        index, bag = self._gather(rows)
        tokens = self.tokens[index]
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
            folder / _PARTS,
            vocabulary=self.vocabulary,
            learned=self.learned.detach().cpu().numpy().astype(np.float16),
            log_weight=self.log_weight.detach().cpu().numpy(),
            project=project.numpy(),
        )
        return {"kind": self.kind, "dim": self.dim, "max_tokens": self.max_tokens}

    def start_from(self, folder: Path) -> None:
        """Take over learned parts by token; tokens that are new in this catalogue begin at the base."""
        try:
            with np.load(folder / _PARTS, allow_pickle=False) as stored:
                common, here, there = np.intersect1d(self.vocabulary, stored["vocabulary"], return_indices=True)
                learned, weight = stored["learned"].astype(np.float32)[there], stored["log_weight"][there]
                project = stored["project"]
        except (OSError, ValueError, KeyError) as error:
            raise ModelFolderError(f"{folder}: wanted a trained static encoder, got {error}; train anew") from error
        if project.shape != tuple(self.project.shape):
            raise ModelFolderError(
                f"{folder}: wanted vectors of {self.dim}, got {project.shape[0]}; train anew or set the same dim"
            )
        with torch.no_grad():
            self.learned[torch.from_numpy(here)] = torch.from_numpy(learned)
            self.log_weight[torch.from_numpy(here)] = torch.from_numpy(weight)
            self.project.copy_(torch.from_numpy(project))
        log.info("continue from=%s tokens=%d of %d", folder, len(common), len(self.vocabulary))

    def _gather(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        lengths = self.lengths[rows]
        bag = torch.repeat_interleave(torch.arange(len(rows), device=rows.device), lengths)
        first = (self.starts[rows] - (lengths.cumsum(0) - lengths))[bag]
        return first + torch.arange(len(bag), device=rows.device), bag


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


def _distil(folder: Path, dim: int, progress: Progress) -> tuple[Tokenizer, NDArray[np.float32]]:
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    model = load_sentence_transformer(folder)
    if isinstance(model[0], StaticEmbedding):
        tokenizer: Tokenizer = model[0].tokenizer
        vectors = model[0].embedding.weight.detach().float().numpy()
    else:
        fast = model.tokenizer
        tokenizer = Tokenizer.from_str(fast.backend_tokenizer.to_str())
        before = [fast.cls_token_id] if fast.cls_token_id is not None else []
        after = [fast.sep_token_id] if fast.sep_token_id is not None else []
        n = tokenizer.get_vocab_size()
        parts = []
        model.eval()
        with torch.no_grad():
            for start in range(0, n, 1024):
                ids = torch.tensor([[*before, token, *after] for token in range(start, min(start + 1024, n))])
                found = model({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
                parts.append(found["sentence_embedding"].float().numpy())
                progress("distil", min(start + 1024, n), n)
        vectors = np.concatenate(parts)
    vectors = vectors - vectors.mean(axis=0)
    _, vectors_out = np.linalg.eigh(np.cov(vectors.T))
    kept = min(dim, vectors.shape[1])
    reduced = np.zeros((len(vectors), dim), np.float32)
    reduced[:, :kept] = vectors @ vectors_out[:, ::-1][:, :kept]
    return tokenizer, reduced / max(float(np.linalg.norm(reduced, axis=1).mean()), 1e-9)


def _with_own_directions(vectors: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """Mix meaning with a direction of each token's own; halfway whitened, or the first components drown the others."""
    spread = vectors.std(axis=0)
    meaning = unit_rows((vectors / np.sqrt(np.maximum(spread, 1e-6))).astype(np.float32))
    # one generator for all trainings, since a later one continues upon the same directions
    own = unit_rows(np.random.default_rng(0).normal(size=vectors.shape).astype(np.float32))
    out: NDArray[np.float32] = (np.sqrt(1 - share**2) * meaning + share * own).astype(np.float32)
    return out


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "readrank" / "tokens"


def _fingerprint(folder: Path) -> str:
    digest = hashlib.sha256(_FORMAT.encode())
    for file in sorted(path for path in folder.rglob("*") if path.suffix in {".json", ".safetensors"}):
        digest.update(file.name.encode())
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:16]


def _keep(folder: Path, tokenizer: Tokenizer, vectors: NDArray[np.float32]) -> None:
    """Write the cache entry under another name and rename it: a killed run leaves nothing half-written."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = folder.with_name(f"{folder.name}.{os.getpid()}")
        fresh.mkdir(exist_ok=True)
        tokenizer.save(str(fresh / TOKENIZER))
        np.save(fresh / "vectors.npy", vectors)
        (fresh / "made.json").write_text(json.dumps({"tokens": len(vectors), "dim": vectors.shape[1]}))
        if not folder.exists():
            fresh.rename(folder)
    except OSError as error:
        log.warning("token vectors are not kept folder=%s reason=%s", folder, error)
