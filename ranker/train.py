"""How does a bundle come to be? Encoder, sources, examples, blend: each from its own slice of time, then the whole log.

             t1 = where examples begin            until
------------------|----------------------|----------|
encoder and sources learn here   | the blend learns | the blend chooses its size
then encoder and sources learn from all of it, and the bundle is written.
"""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from encoders.interest import InterestModel
from encoders.lexical import Words
from encoders.text import TextConfig, attributes_read, item_texts
from encoders.train import EncoderConfig
from ingest import columns as c
from ingest.outbox import Outbox
from ingest.progress import Progress, silent
from ingest.store import END_OF_TIME, Store
from ingest.workspace import Workspace
from ranker import bundle
from ranker.blend import Blend, BlendConfig, Fusion, Trees, fit, importance
from ranker.candidates import CandidatesConfig
from ranker.catalogue import Catalogue
from ranker.errors import NothingToLearnError
from ranker.examples import Examples, ExamplesConfig, all_later, make_examples, next_items
from ranker.factors import FactorsConfig
from ranker.features import FEATURE_NAMES
from ranker.given import impression_examples
from ranker.history import History, microseconds
from ranker.neighbours import NeighboursConfig
from ranker.rules import RulesConfig
from ranker.sources import Sources
from ranker.tune import tune_encoder

log = logging.getLogger(__name__)

MIN_POSITIVES = 50
"""With fewer positive examples than this, fusion of ranks is safer than a learned blend."""
LATER_SHARE = 0.25
"""Latest share of the examples that chooses the number of trees."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything that decides what a bundle becomes."""

    text: TextConfig = field(default_factory=TextConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    examples: ExamplesConfig = field(default_factory=ExamplesConfig)
    candidates: CandidatesConfig = field(default_factory=CandidatesConfig)
    neighbours: NeighboursConfig = field(default_factory=NeighboursConfig)
    factors: FactorsConfig = field(default_factory=FactorsConfig)
    blend: BlendConfig = field(default_factory=BlendConfig)
    rules: RulesConfig = field(default_factory=RulesConfig)

    @classmethod
    def of(cls, workspace: Workspace) -> "TrainConfig":
        """Read the sections of `readrank.toml`."""
        return cls(**{name: workspace.section(name, section) for name, section in SECTIONS.items()})


SECTIONS: dict[str, type[Any]] = {
    "text": TextConfig,
    "encoder": EncoderConfig,
    "examples": ExamplesConfig,
    "candidates": CandidatesConfig,
    "neighbours": NeighboursConfig,
    "factors": FactorsConfig,
    "blend": BlendConfig,
    "rules": RulesConfig,
}


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A new bundle and what was measured on the way."""

    folder: Path
    measured: dict[str, Any]


def train(
    workspace: Workspace,
    config: TrainConfig,
    *,
    until: datetime | None = None,
    progress: Progress = silent,
) -> Trained:
    """Train on everything before `until` (default: all there is) and write a bundle; nothing is promoted.

    Texts and availability are those of the catalogue as it was strictly before `until`, and stay so in the bundle.
    Events accepted over HTTP are drained into the store first. Raises `NothingToLearnError` without items.
    """
    with Store.open(workspace.store_path) as store:
        outbox_seq = _drain(workspace, store)
        frames = _Frames.read(store, until)
    log.info("train interactions=%d items=%d cutoff=%s", len(frames.interactions), len(frames.catalogue), frames.cutoff)
    history = History.from_frames(frames.catalogue, frames.interactions, frames.impressions)
    attributes = attributes_read(frames.catalogue.items, config.text)
    texts = item_texts(frames.catalogue.items, config.text, attributes)
    cutoff = microseconds(frames.cutoff)
    t1 = examples_begin(history, cutoff, config.examples.share)
    # Threads of BLAS wait by spinning: where cores are shared they cost many times what they gain.
    with _scratch(workspace) as scratch, threadpool_limits(1, "blas"):
        tuned = tune_encoder(
            frames.catalogue.items,
            texts,
            frames.interactions,
            frames.impressions,
            scratch,
            config.encoder,
            examples_from=t1,
            until=frames.cutoff,
            progress=progress,
        )
        progress("fit sources", 0, 2)
        words = Words.fit_rows(texts)
        early = _fit_sources(frames.catalogue, texts, words, tuned.early, history, t1 or cutoff, config)
        progress("fit sources", 1, 2)
        sources = _fit_sources(frames.catalogue, texts, words, tuned.final, history, cutoff, config)
        progress("fit sources", 2, 2)
        blend, measured = _learn(early, history, t1, cutoff, config, progress)
        given, measured_given = _learn_given(early, history, frames.impressions, config)
        measured = {
            "catalogue": {"items": len(frames.catalogue), "changed_later": frames.changed_later},
            "encoder": tuned.measured,
            "blend": measured,
            "given": measured_given,
        }

        def fill(folder: Path) -> None:
            frames.catalogue.save(folder)
            history.save(folder / "history")
            sources.save(folder)
            tuned.copy_into(folder / "encoder")
            for model, name in ((blend, "ranker.txt"), (given, "ranker_given.txt")):
                if isinstance(model, Trees):
                    model.booster.save_model(str(folder / name))

        folder = bundle.write(
            workspace.bundles_path,
            fill,
            cutoff=frames.cutoff,
            outbox_seq=outbox_seq,
            feature_names=list(FEATURE_NAMES),
            settings=asdict(config),
            measured=measured,
            text_attributes=attributes,
        )
    bundle.record(workspace, folder, "trained")
    return Trained(folder=folder, measured=measured)


def examples_begin(history: History, cutoff: int, share: float) -> int | None:
    """Return the moment at which the latest `share` of interactions begins; None when there is nothing before it."""
    times = np.sort(history.events(before=cutoff)[3])
    if not len(times):
        return None
    t1 = int(times[min(int(len(times) * (1 - share)), len(times) - 1)])
    if t1 == times[0]:
        later = times[times > t1]
        return int(later[0]) if len(later) else None
    return t1


@dataclass(frozen=True, kw_only=True)
class _Frames:
    catalogue: Catalogue
    interactions: pl.DataFrame
    impressions: pl.DataFrame
    cutoff: datetime
    changed_later: int
    """Items that have changed at or after `until`: their later texts are not used."""

    @classmethod
    def read(cls, store: Store, until: datetime | None) -> "_Frames":
        # Without `until` a bundle is for service, and shows the catalogue as it is, also where it changed after the
        # last event; the cutoff then speaks of behaviour alone.
        before = until or END_OF_TIME
        interactions = store.interactions(before=before)
        catalogue = Catalogue.from_store(store.items(before=before), interactions)
        if not len(catalogue):
            raise NothingToLearnError(
                "wanted items or interactions before the cutoff, the store holds neither; "
                "run `readrank ingest` first, or move --until"
            )
        last = interactions[c.OCCURRED_AT].max()
        cutoff = until or (last + timedelta(microseconds=1) if isinstance(last, datetime) else datetime(1970, 1, 2))
        return cls(
            catalogue=catalogue,
            interactions=interactions,
            impressions=store.impressions(before=before),
            cutoff=cutoff,
            changed_later=store.items_changed(since=before),
        )


def _fit_sources(
    catalogue: Catalogue,
    texts: list[str],
    words: tuple[Words, csr_matrix],
    interest: InterestModel,
    history: History,
    before: int,
    config: TrainConfig,
) -> Sources:
    return Sources.fit(
        catalogue,
        texts,
        interest,
        history,
        before,
        config.neighbours,
        config.factors,
        vectors=config.encoder.vectors,
        serve_dim=config.encoder.serve_dim,
        words=words,
    )


def _learn(
    sources: Sources, history: History, t1: int | None, until: int, config: TrainConfig, progress: Progress
) -> tuple[Blend, dict[str, Any]]:
    if t1 is None:
        return Fusion(), {"learned": False, "why": "all interactions lie at one moment"}
    t2 = _split(history, t1, until)
    rng = np.random.default_rng(config.examples.seed)
    made = []
    for number, (start, end, share) in enumerate(((t1, t2, 1 - LATER_SHARE), (t2, until, LATER_SHARE))):
        asked = [next_items(history, start, end), all_later(history, start, end)]
        size = max(1, int(config.examples.max_queries * share))
        parts = []
        for half, truth in enumerate(asked):
            progress("examples", number * 2 + half, 4)
            if len(truth.moments):
                sample = truth.sample(size, rng)
                parts.append(make_examples(sources, history, sample, config.candidates, config.examples, rng))
        made.append(parts)
    progress("examples", 4, 4)
    train_parts, later_parts = made
    positives = [sum(int((part.labels > 0).sum()) for part in parts) for parts in made]
    if min(positives) < MIN_POSITIVES:
        return Fusion(), {"learned": False, "why": _too_few("positive examples", positives)}
    trees, measured = fit(Examples.concatenate(train_parts), Examples.concatenate(later_parts), config.blend)
    retrieved = Examples.concatenate(train_parts + later_parts).retrieved
    return trees, {
        "learned": True,
        **measured,
        "candidate_recall": round(retrieved, 4),
        "importance": {name: round(share, 4) for name, share in importance(trees)[:20]},
    }


def _learn_given(
    sources: Sources, history: History, impressions: pl.DataFrame, config: TrainConfig
) -> tuple[Blend | None, dict[str, Any]]:
    if impressions.is_empty():
        return None, {"learned": False, "why": "no impressions"}
    examples = impression_examples(sources, history, impressions)
    later = np.quantile(examples.as_of, 1 - LATER_SHARE) if len(examples.as_of) else 0
    train_part, later_part = examples.split(examples.as_of < later)
    positives = [int((part.labels > 0).sum()) for part in (train_part, later_part)]
    if min(positives) < MIN_POSITIVES:
        return None, {"learned": False, "why": _too_few("clicked impressions", positives)}
    trees, measured = fit(train_part, later_part, replace(config.blend, leaves=config.blend.given_leaves))
    return trees, {
        "learned": True,
        **measured,
        "importance": {name: round(share, 4) for name, share in importance(trees)[:20]},
    }


def _too_few(what: str, found: list[int]) -> str:
    return f"{' and '.join(map(str, found))} {what} in the earlier and later window, {MIN_POSITIVES} wanted in each"


def _split(history: History, t1: int, until: int) -> int:
    times = history.events(before=until)[3]
    later = np.sort(times[times >= t1])
    return max(int(later[int(len(later) * (1 - LATER_SHARE))]), t1 + 1)


def _drain(workspace: Workspace, store: Store) -> int:
    if not workspace.outbox_path.exists():
        return 0
    with Outbox.open(workspace.outbox_path) as outbox:
        outbox.drain(store)
        return outbox.drained_seq()


@contextmanager
def _scratch(workspace: Workspace) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=".training-", dir=workspace.root) as folder:
        yield Path(folder)
