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
from ranker import bundle, calibrate
from ranker import tuned as tuned_settings
from ranker.blend import BlendConfig, Trees
from ranker.candidates import CandidatesConfig
from ranker.catalogue import Catalogue
from ranker.compiled import compile_trees
from ranker.errors import NothingToLearnError
from ranker.examples import ExamplesConfig
from ranker.factors import FactorsConfig
from ranker.history import History, microseconds
from ranker.learn import learn, learn_given
from ranker.neighbours import NeighboursConfig
from ranker.registry import FEATURE_NAMES
from ranker.rules import RulesConfig
from ranker.slices import examples_begin
from ranker.sources import Sources
from ranker.tuned import Tuned
from ranker.tuned_encoder import tune_encoder

log = logging.getLogger(__name__)


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
    tuned: Tuned | None = None
    """Settings that `readrank tune` had found and that were used."""
    not_used: Tuned | None = None
    """Settings that it had found with what lies after `until`: not to be used."""


def train(
    workspace: Workspace,
    config: TrainConfig,
    *,
    until: datetime | None = None,
    without_text: bool = False,
    progress: Progress = silent,
) -> Trained:
    """Train on everything before `until` (default: all there is) and write a bundle; nothing is promoted.

    Texts and availability are those of the catalogue as it was strictly before `until`, and stay so in the bundle.
    Events accepted over HTTP are drained into the store first. Where `config` leaves settings of the blend at their
    defaults, those that `readrank tune` found are used. Raises `NothingToLearnError` without items.

    `without_text` trains on behaviour alone: titles, descriptions, categories and attributes are not read. Beside a
    bundle that reads, such a one tells what reading is worth.
    """
    found = tuned_settings.read(workspace)
    blend_config, used = tuned_settings.with_tuned(config.blend, found, until)
    config = replace(config, blend=blend_config)
    with Store.open(workspace.store_path) as store:
        outbox_seq = drain(workspace, store)
        frames = Frames.read(store, until)
    if without_text:
        frames = replace(frames, catalogue=frames.catalogue.without_text())
        config = replace(config, encoder=replace(config.encoder, base="catalogue", kind="static", epochs=1))
    log.info("train interactions=%d items=%d cutoff=%s", len(frames.interactions), len(frames.catalogue), frames.cutoff)
    history = History.from_frames(frames.catalogue, frames.interactions, frames.impressions)
    attributes = attributes_read(frames.catalogue.items, config.text)
    texts = item_texts(frames.catalogue.items, config.text, attributes)
    cutoff = microseconds(frames.cutoff)
    t1 = examples_begin(history, cutoff, config.examples.share)
    # Threads of BLAS wait by spinning: where cores are shared they cost many times what they gain.
    with scratch_folder(workspace) as scratch, threadpool_limits(1, "blas"):
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
        early = fit_sources(frames.catalogue, texts, words, tuned.early, history, cutoff if t1 is None else t1, config)
        progress("fit sources", 1, 2)
        sources = fit_sources(frames.catalogue, texts, words, tuned.final, history, cutoff, config)
        progress("fit sources", 2, 2)
        asked = learn(
            early, history, t1, cutoff, config.candidates, config.examples, config.blend, config.rules, progress
        )
        given = learn_given(early, history, frames.impressions, t1, config.blend, config.examples)
        measured = {
            "catalogue": {"items": len(frames.catalogue), "changed_later": frames.changed_later},
            "without_text": without_text,
            "encoder": tuned.measured,
            "blend": asked.measured,
            "sources": asked.sources,
            "fresh_places": asked.places,
            "given": given.measured,
        }

        def fill(folder: Path) -> None:
            frames.catalogue.save(folder)
            history.save(folder / "history")
            sources.save(folder)
            tuned.copy_into(folder / "encoder")
            for model, name in ((asked.blend, "ranker.txt"), (given.blend, "ranker_given.txt")):
                if isinstance(model, Trees):
                    model.booster.save_model(str(folder / name))
                    if config.blend.compiled:
                        compile_trees(folder / name)
            calibrate.save({"recommend": asked.likely, "given": given.likely}, folder)

        folder = bundle.write(
            workspace.bundles_path,
            fill,
            cutoff=frames.cutoff,
            outbox_seq=outbox_seq,
            feature_names=list(FEATURE_NAMES),
            settings=asdict(config),
            measured=measured,
            text_attributes=attributes,
            tuned=asdict(used) if used else None,
        )
    bundle.record(workspace, folder, "trained")
    return Trained(folder=folder, measured=measured, tuned=used, not_used=None if used else found)


@dataclass(frozen=True, kw_only=True)
class Frames:
    """What the store holds before a moment."""

    catalogue: Catalogue
    interactions: pl.DataFrame
    impressions: pl.DataFrame
    cutoff: datetime
    changed_later: int
    """Items that have changed at or after `until`: their later texts are not used."""

    @classmethod
    def read(cls, store: Store, until: datetime | None) -> "Frames":
        """Read everything before `until`; `NothingToLearnError` without items."""
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


def fit_sources(
    catalogue: Catalogue,
    texts: list[str],
    words: tuple[Words, csr_matrix],
    interest: InterestModel,
    history: History,
    before: int,
    config: TrainConfig,
) -> Sources:
    """Fit the behavioural sources on what lies before a moment."""
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
        price_attribute=config.rules.price_attribute,
        words=words,
    )


def drain(workspace: Workspace, store: Store) -> int:
    """Take what came over HTTP into the store; return the number of the last event taken."""
    if not workspace.outbox_path.exists():
        return 0
    with Outbox.open(workspace.outbox_path) as outbox:
        outbox.drain(store)
        return outbox.drained_seq()


@contextmanager
def scratch_folder(workspace: Workspace) -> Iterator[Path]:
    """Give a folder for what training needs meanwhile; it is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix=".training-", dir=workspace.root) as folder:
        yield Path(folder)
