"""Which encoders does a ranker need from elsewhere? One that knows the earlier log alone, one that knows all of it.

The earlier one makes honest features for the part of the log that the ranker learns from, the other one serves.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np

from encoders.base import Base
from encoders.checkpoint import forget_mark
from encoders.interest import ITEM_VECTORS, TRANSFORMER, InterestModel
from encoders.overwrite import check_model_place
from encoders.report import TrainingReport
from encoders.sequences import read_ids, read_sequences
from encoders.train import EncoderConfig, train
from encoders.vectors import CatalogueVectors, encoder_fingerprint, text_fingerprints
from ingest.progress import Progress, silent

EARLY = "early"
FINAL = "final"


def train_pair(
    data: Path,
    out: Path,
    config: EncoderConfig,
    *,
    validate_from: datetime | None = None,
    progress: Progress = silent,
    resume: bool = True,
) -> tuple[TrainingReport, TrainingReport]:
    """Train `out/early` on what lies before `validate_from` and `out/final` anew on all of the log.

    By default the latest tenth is held out, as the ranker holds it out. Transformers leave the vectors of the catalogue
    beside themselves, so that a machine without a GPU need not encode it. A killed run goes on where it was: an encoder
    that it had finished is not trained again. Under `torchrun` all processes train, and the first one writes.
    """
    from encoders.distributed import joined

    for name in (EARLY, FINAL):
        check_model_place(out / name, data)
    with joined() as ranks:
        both = partial(train, data, config=config, progress=progress, resume=resume, leave_mark=True)
        early = both(out=out / EARLY, validate_from=validate_from)
        final = both(out=out / FINAL, repeat_of=out / EARLY)
        if ranks.first:
            for name in (EARLY, FINAL):
                keep_vectors(out / name, data)
            for name in (EARLY, FINAL):
                forget_mark(out / name)
    return early, final


def keep_vectors(folder: Path, data: Path) -> None:
    """Write the catalogue's vectors into a transformer's model folder, in float32 as served, kept as float16."""
    import torch

    from encoders.encoder import all_vectors
    from encoders.transformer import TransformerEncoder

    model = InterestModel.load(folder)
    if model.kind != "transformer":
        return
    texts = read_sequences(data).texts
    base = Base(name=folder.name, source="folder", folder=folder / TRANSFORMER)
    encoder = TransformerEncoder.open(
        base, texts, tuning="full", max_tokens=model.config["max_tokens"], precision="float32"
    )
    encoder.packs = False  # attention over texts end to end knows no float32 on a GPU
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    vectors = all_vectors(encoder.to(device), len(texts)).cpu().numpy()
    CatalogueVectors(
        ids=read_ids(data),
        texts=text_fingerprints(texts),
        stored=vectors.astype(np.float16),
        scales=None,
        encoder=encoder_fingerprint(model),
    ).save(folder / ITEM_VECTORS)
