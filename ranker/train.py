"""How does a bundle come to be? Encoder, sources, examples, blend: each from its own slice of time, then the whole log.

         since = where examples begin             until
------------------|----------------------|----------|
encoder and sources learn here   | the blend learns | the blend chooses its size
then encoder and sources learn from all of it, and the bundle is written.
"""

import logging
import shutil
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from encoders.interest import ITEM_VECTORS, InterestModel
from encoders.lexical import Words
from encoders.settings import check_settings
from ingest.progress import Progress, silent
from ingest.store import Store
from ingest.take_in import drain_outbox
from ingest.workspace import Workspace
from ranker import bundle, calibrate
from ranker import tuned as tuned_settings
from ranker.blend import Trees
from ranker.compiled import compile_trees
from ranker.learn import Learned, learn, learn_given
from ranker.registry import FEATURE_NAMES
from ranker.resumable_folder import keep_logs, resumable_folder
from ranker.sources import Behaviour, Sources
from ranker.train_config import TrainConfig
from ranker.training_data import Frames, TrainingData, scratch_folder
from ranker.tuned import Tuned
from ranker.tuned_encoder import TwoEncoders, ready_encoders

log = logging.getLogger(__name__)


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
    encoders: Path | None = None,
    progress: Progress = silent,
) -> Trained:
    """Train on everything before `until` (default: all there is) and write a bundle; nothing is promoted.

    Texts and availability are those of the catalogue as it was strictly before `until`, and stay so in the bundle.
    Events accepted over HTTP are drained into the store first. Killed and called again on the same log, it goes on with
    what its encoders had learned. Where `config` leaves settings of the blend at their defaults, those that
    `readrank tune` found are used. Raises `NothingToLearnError` without items.

    `without_text` trains on behaviour alone: titles, descriptions, categories and attributes are not read. Beside a
    bundle that reads, such a one tells what reading is worth. `encoders` is a folder of `early` and `final` that were
    tuned elsewhere, on an export of this store: `EncoderError` when they do not fit.
    """
    encoder, examples_from = ready_encoders(encoders, config.encoder, until) if encoders else (config.encoder, 0)
    if without_text:
        encoder = replace(encoder, base="catalogue", kind="static", tuning="full", epochs=1, cut_dims="", serve_dim=0)
    check_settings(encoder)
    config = replace(config, encoder=encoder)
    found = tuned_settings.read(workspace)
    blend_config, used = tuned_settings.with_tuned(config.blend, found, until)
    config = replace(config, blend=blend_config)
    with Store.open(workspace.store_path) as store:
        _, outbox_seq = drain_outbox(workspace, store)
        frames = Frames.read(store, until)
    if without_text:
        frames = replace(frames, catalogue=frames.catalogue.without_text())
    log.info("train interactions=%d items=%d cutoff=%s", len(frames.interactions), len(frames.catalogue), frames.cutoff)
    changed_later, cutoff = frames.changed_later, frames.cutoff
    # Threads of BLAS wait by spinning: where cores are shared they cost many times what they gain.
    with scratch_folder(workspace) as scratch, threadpool_limits(1, "blas"), ExitStack() as kept:
        data = TrainingData.of(
            frames,
            config.text,
            scratch / "data",
            examples_share=config.examples.share,
            examples_from=examples_from,
            repeats=config.rules.repeats,
        )
        del frames  # a long log is most of what is held in memory
        learned = scratch if encoders else kept.enter_context(resumable_folder(workspace, data.folder, scratch))
        both = TwoEncoders(data, config.encoder, learned, progress, ready=encoders)
        with both.early() as early_model:
            progress("fit sources", 0, 2)
            words = Words.fit_rows(data.texts)
            before = fit_behaviour(data, data.until if data.examples_since is None else data.examples_since, config)
            progress("fit sources", 1, 2)
            whole = fit_behaviour(data, data.until, config)
            progress("fit sources", 2, 2)
            early = early_model()
        with both.final() as final_model:
            recommended, given = _blends(data, fit_sources(data, words, early, before, config), config, progress)
            final = final_model()
        del before, early  # of a large catalogue they take gigabytes, as do those that follow
        sources = fit_sources(data, words, final, whole, config)
        measured = {
            "catalogue": {"items": len(data.catalogue), "changed_later": changed_later},
            "without_text": without_text,
            "encoder": both.measured,
            "blend": recommended.measured,
            "sources": recommended.sources,
            "fresh_places": recommended.places,
            "cold_users": recommended.cold_users,
            "untouched": recommended.untouched,
            "given": given.measured,
        }

        def fill(folder: Path) -> None:
            data.catalogue.save(folder)
            data.history.save(folder / "history")
            sources.save(folder)
            shutil.copytree(final.folder, folder / "encoder", ignore=shutil.ignore_patterns(ITEM_VECTORS))
            for model, name in ((recommended.blend, "ranker.txt"), (given.blend, "ranker_given.txt")):
                if isinstance(model, Trees):
                    model.booster.save_model(str(folder / name))
                    if config.blend.compiled:
                        compile_trees(folder / name)
            calibrate.save({"recommend": recommended.calibration, "given": given.calibration}, folder)

        folder = bundle.write(
            workspace.bundles_path,
            fill,
            cutoff=cutoff,
            outbox_seq=outbox_seq,
            feature_names=list(FEATURE_NAMES),
            settings=asdict(config),
            measured=measured,
            text_attributes=data.attributes,
            tuned=asdict(used) if used else None,
        )
        keep_logs(learned, workspace.reports_path / "tensorboard" / folder.name)
    bundle.record(workspace, folder, progress)
    return Trained(folder=folder, measured=measured, tuned=used, not_used=None if used else found)


def _blends(data: TrainingData, sources: Sources, config: TrainConfig, progress: Progress) -> tuple[Learned, Learned]:
    """Learn the blend of recommendations and that of given items."""
    recommended = learn(sources, data.history, data.examples_since, data.until, config, progress)
    return recommended, learn_given(sources, data.history, data.examples_since, data.impressions, config)


def fit_behaviour(data: TrainingData, before: int, config: TrainConfig) -> Behaviour:
    """Fit what behaviour alone says of items on what lies before a moment (microseconds)."""
    return Behaviour.fit(data.history, before, len(data.catalogue), config.neighbours, config.factors)


def fit_sources(
    data: TrainingData,
    words: tuple[Words, csr_matrix],
    interest: InterestModel,
    behaviour: Behaviour,
    config: TrainConfig,
) -> Sources:
    """Put together what behaviour says and what a trained encoder makes of the texts."""
    return Sources.fit(
        data.catalogue,
        data.texts,
        interest,
        behaviour,
        vectors=config.encoder.vectors,
        serve_dim=config.encoder.serve_dim,
        price_attribute=config.rules.price_attribute,
        words=words,
    )
