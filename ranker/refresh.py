"""How does a bundle learn what is new without training? The same models over catalogue and history as they are now."""

import logging
import shutil
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import sparse

from encoders.text import TextConfig, item_texts
from encoders.vectors import CatalogueVectors
from ingest import columns as c
from ingest.moments import NEVER
from ingest.progress import Progress, silent
from ingest.store import END_OF_TIME, Store
from ingest.take_in import drain_outbox
from ingest.workspace import Workspace
from ranker import bundle
from ranker.alike import fit_alike
from ranker.arrays import Rows
from ranker.calibrate import CALIBRATION
from ranker.catalogue import Catalogue
from ranker.compiled import COMPILED
from ranker.errors import NothingToLearnError
from ranker.facets import Value
from ranker.history import History
from ranker.rules import RulesConfig
from ranker.sources import Sources
from ranker.training_data import end_of

log = logging.getLogger(__name__)

_EVER = np.array(NEVER)
_MODELS = ("ranker.txt", "ranker_given.txt", CALIBRATION)


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What the store says that the bundle did not, and what that took."""

    source: str
    """Version of the bundle that was refreshed."""
    new: int
    """Items that were not there."""
    removed: int
    """Items that are no longer there, with all that was done with them."""
    changed: int
    """Items that say something else, or are available or not: whatever differs."""
    encoded: int
    """Texts that went through the encoder; all others kept their vector bit by bit."""
    events: int
    """How many events more its history holds; below zero where the store has lost more than came."""
    users_left_out: int
    """Users of whose past the store holds nothing any more, forgotten or too long ago: it is left out."""
    history: bool = False
    """Whether anything in the history differs, also where as many events went as came."""
    rules: bool = False
    """Whether `[rules]` say something else, `repeats` aside."""
    repeats_wait: bool = False
    """Whether `repeats` says something else: it decides what is learned, so it waits for the next training."""

    def __bool__(self) -> bool:
        return bool(self.new or self.removed or self.changed or self.history or self.rules)


def refresh(
    workspace: Workspace,
    *,
    version: str | None = None,
    until: datetime | None = None,
    into: Path | None = None,
    progress: Progress = silent,
) -> tuple[Path, Changes]:
    """Write a bundle of the same models over what the store holds now, or held before `until`; nothing is promoted.

    It lies beside the others, or in the folder `into`, of which the store is not told.

    Events accepted over HTTP are drained into the store first. Only texts that the bundle (by default the one that
    serves) has no vector of are encoded, by its own encoder. The history is read anew: whatever users did, and what was
    shown before the cutoff, as the models learned from nothing that was shown later. Ranker, user tower, word
    statistics, neighbours, factors, cutoff and settings stay, except `[rules]`, which are those of the workspace now;
    only `repeats`, from which models learned, stays. Neighbours and factors follow the items to their new rows: by
    behaviour a new item has neither until the next training. When nothing has changed there is no new bundle, and the
    folder is that of the old one. Another job that has the store is waited for.

    Raises BundleError where there is no such bundle or it is damaged, NothingToLearnError where it reads no texts or
    the store holds no items.
    """
    bundles = workspace.bundles_path
    folder = bundle.live_folder(bundles) if version is None else bundle.named_folder(bundles, version)
    manifest = bundle.checked_manifest(folder)
    if manifest.measured.get("without_text"):
        raise NothingToLearnError(
            f"{folder.name}: wanted a bundle that reads texts, got one trained without; "
            "train again, or name another with --version"
        )
    old, cutoff = Catalogue.load(folder), datetime.fromisoformat(manifest.cutoff)
    with Store.open_when_free(workspace.store_path, progress) as store:
        _, outbox_seq = drain_outbox(workspace, store)
        catalogue, past, known_until = _read_anew(store, old, cutoff, until or END_OF_TIME)
    sources, history = Sources.load(folder, old), History.load(folder / "history")
    text = TextConfig(**manifest.settings["text"])
    texts = item_texts(catalogue.items, text, manifest.text_attributes)
    vectors, encoded = sources.item_vectors.refresh(sources.interest, catalogue.ids, texts, progress)
    wanted, trained = workspace.section("rules", RulesConfig), RulesConfig(**manifest.settings["rules"])
    rules = replace(wanted, repeats=trained.repeats)
    changes = replace(
        _compared(folder.name, old, catalogue),
        encoded=encoded.encoded,
        events=past.n_events - history.n_events,
        users_left_out=len(set(history.user_ids) - set(past.user_ids)),
        history=not past.same_events(history),
        rules=rules != trained,
        repeats_wait=wanted.repeats != trained.repeats,
    )
    if not changes:
        return folder, changes
    moved = _moved(sources, catalogue, texts, vectors, past)

    def fill(fresh: Path) -> None:
        catalogue.save(fresh)
        past.save(fresh / "history")
        moved.save(fresh)
        shutil.copytree(folder / "encoder", fresh / "encoder")
        for model in (*map(folder.joinpath, _MODELS), *folder.glob(COMPILED)):
            if model.is_file():
                shutil.copyfile(model, fresh / model.name)

    written = bundle.write(
        into or bundles,
        fill,
        cutoff=cutoff,
        known_until=known_until,
        outbox_seq=outbox_seq,
        feature_names=manifest.feature_names,
        settings={**manifest.settings, "rules": asdict(rules)},
        measured=manifest.measured,
        text_attributes=manifest.text_attributes,
        refreshed=asdict(changes),
        tuned=manifest.tuned,
    )
    if into is None:
        bundle.record(workspace, written, progress)
    log.info("refreshed version=%s changes=%s", written.name, changes)
    return written, changes


def _read_anew(store: Store, old: Catalogue, cutoff: datetime, before: datetime) -> tuple[Catalogue, History, datetime]:
    """Return catalogue and history strictly before a moment, and the moment up to which they tell everything."""
    items, interactions = store.items(before=before), store.interactions(before=before)
    now = Catalogue.from_store(items, interactions)
    if not len(now):
        raise NothingToLearnError("wanted items, the store holds none; run `readrank ingest` first")
    catalogue = Catalogue(now.items, _facet_values(old, now), store.absences(before=before, settled=cutoff))
    history = History.from_frames(catalogue, interactions, store.impressions(before=min(cutoff, before)))
    return catalogue, history, max(cutoff, end_of(interactions))


def _facet_values(old: Catalogue, now: Catalogue) -> list[Value]:
    """Return the values that count: those of the training, and what items share now of the same attributes."""
    names = {name for name, _ in old.facet_values}
    return sorted({*old.facet_values, *(value for value in now.facet_values if value[0] in names)})


def _compared(source: str, old: Catalogue, now: Catalogue) -> Changes:
    """Tell how catalogues differ; nothing of texts and events."""
    both = now.items.join(old.items, on=c.ITEM_ID, how="semi").sort(c.ITEM_ID)
    before = old.items.join(now.items, on=c.ITEM_ID, how="semi").sort(c.ITEM_ID)
    other_past = pl.concat([now.absences, old.absences]).unique(keep="none")[c.ITEM_ID]
    differs = pl.any_horizontal(
        pl.col(c.ITEM_ID).is_in(other_past.to_list()),
        *(pl.col(name).ne_missing(before[name]) for name in both.columns),
    )
    return Changes(
        source=source,
        new=len(now) - len(both),
        removed=len(old) - len(both),
        changed=both.filter(differs).height,
        encoded=0,
        events=0,
        users_left_out=0,
    )


def _moved(
    sources: Sources, catalogue: Catalogue, texts: list[str], vectors: CatalogueVectors, past: History
) -> Sources:
    """Let everything with an item axis follow the items to their new rows; new items get empty ones.

    Neighbours by text are found for new and changed texts: they are all that a new item has.
    """
    old = sources.catalogue
    before, now = old.rows(catalogue.ids), catalogue.rows(old.ids)
    same = before >= 0
    same[same] = (vectors.texts[same] == sources.item_vectors.texts[before[same]]).all(axis=1)
    return Sources(
        catalogue,
        sources.interest,
        vectors,
        sources.words,
        _words(sources, texts, np.where(same, before, -1)),
        _moved_square(sources.together, now, len(catalogue)),
        _moved_square(sources.following, now, len(catalogue)),
        _moved_square(sources.straight, now, len(catalogue)),
        sources.factors.moved(before),
        _alike(sources, vectors, now, np.where(same, before, -1), past),
        sources.mean_vector,
        price_attribute=sources.price_attribute,
    )


def _alike(
    sources: Sources, vectors: CatalogueVectors, now: Rows, before: npt.NDArray[np.integer], past: History
) -> Rows:
    kept = np.flatnonzero(before >= 0)
    unread = np.flatnonzero(before < 0)
    out = np.full((len(before), sources.alike.shape[1]), -1, np.int32)
    old = sources.alike[before[kept]]
    moved = np.where(old >= 0, now[old], -1)
    out[kept] = np.take_along_axis(moved, np.argsort(moved < 0, axis=1, kind="stable"), axis=1)
    counts = past.item_counts(np.arange(len(before)), before=_EVER)
    out[unread] = fit_alike(vectors.floats(), counts, unread)
    return out


def _words(sources: Sources, texts: list[str], before: npt.NDArray[np.integer]) -> sparse.csr_matrix:
    held = sources.everything.words
    unread = np.flatnonzero(before < 0)
    rows = before.astype(np.int64)
    rows[unread] = held.shape[0] + np.arange(len(unread))
    return sparse.vstack([held, sources.words.matrix([texts[row] for row in unread])]).tocsr()[rows]


def _moved_square(weights: sparse.csr_matrix, rows: Rows, n_items: int) -> sparse.csr_matrix:
    found = weights.tocoo()
    row, column = rows[found.row], rows[found.col]
    kept = (row >= 0) & (column >= 0)
    return sparse.csr_matrix((found.data[kept], (row[kept], column[kept])), shape=(n_items, n_items))
