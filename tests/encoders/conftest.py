from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from encoders.export import export_frames
from encoders.train import EncoderConfig

TOPICS = {
    "garden": ["rose", "tulip", "spade", "soil", "seed", "lawn", "hedge", "bloom"],
    "kitchen": ["oven", "whisk", "flour", "butter", "cake", "spoon", "tray", "recipe"],
    "music": ["guitar", "drum", "chord", "melody", "piano", "rhythm", "song", "amp"],
    "travel": ["passport", "train", "hotel", "beach", "map", "luggage", "island", "ferry"],
}
BEGIN = datetime(2024, 1, 1)


@dataclass(frozen=True)
class Shop:
    """A small catalogue and log: who takes from one topic goes on to another, and only the text tells topics."""

    items: pl.DataFrame
    interactions: pl.DataFrame
    impressions: pl.DataFrame
    folder: Path
    before: datetime


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def shop(tmp_path_factory) -> Shop:
    rng = np.random.default_rng(5)
    names = list(TOPICS)
    rows = []
    for n in range(120):
        words = rng.choice(TOPICS[names[n % 4]], size=4, replace=False)
        rows.append({"item_id": f"i{n:03d}", "title": " ".join(words), "description": None, "categories": []})
    items = pl.DataFrame(rows, schema={"item_id": str, "title": str, "description": str, "categories": pl.List(str)})
    events, shown = [], []
    for user in range(90):
        topics = [[n for n in range(120) if n % 4 == (user + 2 * k) % 4] for k in range(2)]
        own = [item for pair in zip(*(rng.permutation(topic) for topic in topics), strict=True) for item in pair]
        moment = BEGIN + timedelta(hours=int(rng.integers(0, 24 * 20)))
        for k, item in enumerate(own[:10]):
            moment += timedelta(hours=int(rng.integers(1, 24)))
            events.append((f"u{user:02d}", f"i{item:03d}", "click", 2.0, moment))
            if k >= 8:
                other = int(rng.choice([n for n in range(120) if n % 2 != user % 2]))
                for id_, clicked in ((f"i{item:03d}", True), (f"i{other:03d}", False)):
                    shown.append((f"r{user}-{k}", f"u{user:02d}", id_, moment, clicked, moment if clicked else None))
    moments = pl.Datetime("us")
    interactions = pl.DataFrame(
        events,
        schema={"user_id": str, "item_id": str, "kind": str, "weight": float, "occurred_at": moments},
        orient="row",
    ).sort("occurred_at")
    impressions = pl.DataFrame(
        shown,
        schema={"request_id": str, "user_id": str, "item_id": str, "occurred_at": moments, "clicked": bool}
        | {"clicked_at": moments},
        orient="row",
    )
    folder = tmp_path_factory.mktemp("shop") / "train"
    before = interactions["occurred_at"].max() + timedelta(seconds=1)
    export_frames(items, interactions, folder, before=before, impressions=impressions)
    return Shop(items, interactions, impressions, folder, before)


@pytest.fixture(scope="session")
def small() -> EncoderConfig:
    """Settings that train in a second or two, from the catalogue's own words."""
    return EncoderConfig(
        base="catalogue", dim=16, width=16, heads=2, history=8, epochs=3, pairs_at_once=128, negatives=64,
        learning_rate=1e-2, validation_queries=200,
    )  # fmt: skip


ARCHITECTURES = ("Bert", "Roberta", "DistilBert", "MPNet")
"""Roberta counts places from behind the padding's index, DistilBert knows no sorts of tokens, MPNet adds a bias of its
own to attention."""


@pytest.fixture(scope="session")
def tiny_transformer(tmp_path_factory) -> Path:
    """A real sentence-transformers folder: one layer of BERT, 32 wide, with a word-piece vocabulary of its own."""
    return make_base(tmp_path_factory.mktemp("base"), "Bert")


@pytest.fixture(scope="session", params=ARCHITECTURES)
def tiny_base(request, tmp_path_factory) -> Path:
    """As `tiny_transformer`, of each architecture in turn."""
    return make_base(tmp_path_factory.mktemp("base"), request.param)


def make_base(folder: Path, architecture: str, *, width: int = 32, words: tuple[str, ...] = ()) -> Path:
    """Write a sentence-transformers folder of one layer, with a vocabulary from the topics and more words."""
    import torch
    import transformers
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer()
    known = [" ".join(topic) for topic in (*TOPICS.values(), words)]
    tokenizer.train_from_iterator(known, vocab_size=200, show_progress=False)
    fast = transformers.BertTokenizerFast(tokenizer_object=tokenizer._tokenizer)
    torch.manual_seed(0)
    shape = {"hidden_size": width, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    if architecture == "DistilBert":
        shape = {"dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 64}
    config = getattr(transformers, f"{architecture}Config")(
        vocab_size=len(fast), max_position_embeddings=64, pad_token_id=fast.pad_token_id, **shape
    )
    getattr(transformers, f"{architecture}Model")(config).save_pretrained(folder / "bare")
    fast.save_pretrained(folder / "bare")
    read = Transformer(str(folder / "bare"), max_seq_length=32)
    SentenceTransformer(modules=[read, Pooling(width)], device="cpu").save(str(folder / "model"))
    return folder / "model"
