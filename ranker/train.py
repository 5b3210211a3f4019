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
from encoders.train import EncoderConfig
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
    config = replace(config, encoder=_without_reading(encoder) if without_text else encoder)
    check_settings(config.encoder)
    found = tuned_settings.read(workspace)
    blend_config, used = tuned_settings.with_tuned(config.blend, found, until)
    config = replace(config, blend=blend_config)
    with Store.open(workspace.store_path) as store:
        _, outbox_seq = drain_outbox(workspace, store)
        frames = Frames.read(store, until)
    if without_text:
        frames = replace(frames, catalogue=frames.catalogue.without_text())
    log.info("train interactions=%d items=%d cutoff=%s", len(frames.interactions), len(frames.catalogue), frames.cutoff)
    changed_later = frames.changed_later
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
        two = TwoEncoders(data, config.encoder, learned, progress, ready=encoders)
        parts = _learn(data, two, config, progress)
        measured = {
            "catalogue": {"items": len(data.catalogue), "changed_later": changed_later},
            "without_text": without_text,
            "encoder": two.measured,
            **parts.measured,
        }
        folder = bundle.write(
            workspace.bundles_path,
            lambda fresh: parts.save(fresh, data, compiled=config.blend.compiled),
            cutoff=data.cutoff,
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


def _without_reading(encoder: EncoderConfig) -> EncoderConfig:
    """Return settings of an encoder that has nothing to read: as little as may be is tuned."""
    return replace(encoder, base="catalogue", kind="static", tuning="full", epochs=1, cut_dims="", serve_dim=0)


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """What was learned of the whole log: all that a bundle holds but the data themselves."""

    sources: Sources
    encoder: Path
    """Folder of the final encoder."""
    recommended: Learned
    given: Learned

    @property
    def measured(self) -> dict[str, Any]:
        """What the later window told of the blends."""
        return {
            "blend": self.recommended.measured,
            "sources": self.recommended.sources,
            "fresh_places": self.recommended.places,
            "cold_users": self.recommended.cold_users,
            "untouched": self.recommended.untouched,
            "given": self.given.measured,
        }

    def save(self, folder: Path, data: TrainingData, *, compiled: bool) -> None:
        """Write the bundle's files, the trees also as machine code where they are to be compiled."""
        data.catalogue.save(folder)
        data.history.save(folder / "history")
        self.sources.save(folder)
        shutil.copytree(self.encoder, folder / "encoder", ignore=shutil.ignore_patterns(ITEM_VECTORS))
        for model, name in ((self.recommended.blend, "ranker.txt"), (self.given.blend, "ranker_given.txt")):
            if isinstance(model, Trees):
                model.booster.save_model(str(folder / name))
                if compiled:
                    compile_trees(folder / name)
        calibrate.save({"recommend": self.recommended.calibration, "given": self.given.calibration}, folder)


def _learn(data: TrainingData, two: TwoEncoders, config: TrainConfig, progress: Progress) -> _Parts:
    """Learn the blends from sources that know nothing of the later slices, then fit the sources on the whole log."""
    with two.early() as early_model:
        progress("fit sources", 0, 2)
        words = Words.fit_rows(data.texts)
        since = data.until if data.examples_since is None else data.examples_since
        early_behaviour = fit_behaviour(data, since, config)
        progress("fit sources", 1, 2)
        behaviour = fit_behaviour(data, data.until, config)
        progress("fit sources", 2, 2)
        early = early_model()
    with two.final() as final_model:
        recommended, given = _blends(data, fit_sources(data, words, early, early_behaviour, config), config, progress)
        final = final_model()
    del early_behaviour, early  # of a large catalogue they take gigabytes, as do those that follow
    sources = fit_sources(data, words, final, behaviour, config)
    return _Parts(sources=sources, encoder=final.folder, recommended=recommended, given=given)


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
