"""How does a tuned transformer read a new text in service? As training read it, with sentence-transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.base import load_sentence_transformer


def encode_served(model: Any, folder: Path, texts: Sequence[str]) -> tuple[Any, NDArray[np.float32]]:
    """Encode texts with the folder's model, opening it the first time; return the open model and unit rows."""
    if model is None:
        model = load_sentence_transformer(folder)
    read = prompted(model, texts)
    # an empty prompt, or the library would put the default one before these texts again
    vectors = model.encode(read, prompt="", normalize_embeddings=True, convert_to_numpy=True, show_progress_bar=False)
    return model, np.asarray(vectors, dtype=np.float32)


def prompted(model: Any, texts: Sequence[str]) -> list[str]:
    """Return the texts as training and service read them: each behind the base's default prompt, if it has one."""
    prompt = model.prompts.get(model.default_prompt_name) or ""
    return [prompt + text for text in texts]
