"""How are token vectors distilled from a base? Once for each base and length, and kept in the user's cache folder."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from encoders.base import Base, load_sentence_transformer
from encoders.interest import TOKENIZER, unit_rows
from encoders.lexical import catalogue_tokens
from ingest.file_digests import named_files_sha256
from ingest.progress import Progress, silent

if TYPE_CHECKING:
    from tokenizers import Tokenizer

log = logging.getLogger(__name__)

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
    """Return a tokenizer and token vectors [tokens, dim] of the base, of about length one.

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
    kept = _cache_folder() / f"{_fingerprint(base.folder)}-{dim}"
    found = _read(kept)
    if found is None:
        found = _distil(base.folder, dim, progress)
        _keep(kept, *found)
    return found


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
    files = sorted(path for path in folder.rglob("*") if path.suffix in {".json", ".safetensors", ".bin"})
    return named_files_sha256(_FORMAT, ((file.name, file) for file in files))[:16]


def _read(folder: Path) -> tuple[Tokenizer, NDArray[np.float32]] | None:
    """Return what a cache entry holds; None for one that is not there, lacks a file or is damaged."""
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(folder / TOKENIZER)), np.load(folder / "vectors.npy")
    except Exception:  # tokenizers raises nothing more particular
        return None


def _keep(folder: Path, tokenizer: Tokenizer, vectors: NDArray[np.float32]) -> None:
    """Write the cache entry under another name and rename it: a killed run leaves nothing half-written.

    Of two runs that distil at once the first keeps its entry; one that cannot be read is replaced.
    """
    fresh = folder.with_name(f"{folder.name}.{os.getpid()}")
    try:
        fresh.mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(fresh / TOKENIZER))
        np.save(fresh / "vectors.npy", vectors)
        (fresh / "made.json").write_text(json.dumps({"tokens": len(vectors), "dim": vectors.shape[1]}))
        if _read(folder) is None:
            shutil.rmtree(folder, ignore_errors=True)
            fresh.rename(folder)
    except OSError as error:
        log.warning("token vectors are not kept folder=%s reason=%s", folder, error)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
