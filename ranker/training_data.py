"""What does every training stand on? The store before a moment: catalogue, texts, history, and where examples begin."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from encoders.export import export_frames
from encoders.text import TextConfig, attributes_read, item_texts
from ingest import columns as c
from ingest.held import scratch
from ingest.leftovers import TRAINING
from ingest.moments import to_microseconds
from ingest.store import END_OF_TIME, Store
from ingest.workspace import Workspace
from ranker.catalogue import Catalogue
from ranker.errors import NothingToLearnError
from ranker.history import History
from ranker.slices import examples_begin


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
        interactions, impressions = store.interactions(before=before), store.impressions(before=before)
        cutoff = until or end_of(interactions, impressions)
        absences = store.absences(before=before, settled=cutoff)
        catalogue = Catalogue.from_store(store.items(before=before), interactions, absences)
        if not len(catalogue):
            raise NothingToLearnError(
                "wanted items or interactions before the cutoff, the store holds neither; "
                "run `readrank ingest` first, or move --until"
            )
        return cls(
            catalogue=catalogue,
            interactions=interactions,
            impressions=impressions,
            cutoff=cutoff,
            changed_later=store.items_changed(since=before),
        )


def end_of(*logs: pl.DataFrame) -> datetime:
    """Return the moment just after the last event of all; early in 1970 where there is none."""
    lasts = [last for log in logs if isinstance(last := log[c.OCCURRED_AT].max(), datetime)]
    return max(lasts) + timedelta(microseconds=1) if lasts else datetime(1970, 1, 2)


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """What is made of the frames before anything is learned; the log itself then need not be held any more."""

    catalogue: Catalogue
    texts: list[str]
    """The catalogue's, in its order."""
    attributes: tuple[str, ...]
    """Attributes that the texts hold."""
    history: History
    impressions: pl.DataFrame
    cutoff: datetime
    examples_since: int | None
    """Where examples begin, in microseconds; None when all interactions lie at one moment."""
    folder: Path
    """The training folder of the whole log, for encoders."""

    @property
    def until(self) -> int:
        """The cutoff in microseconds."""
        return to_microseconds(self.cutoff)

    @classmethod
    def of(
        cls,
        frames: Frames,
        text: TextConfig,
        folder: Path,
        *,
        examples_share: float,
        examples_from: int = 0,
        repeats: bool = False,
    ) -> "TrainingData":
        """Read the texts, sort the history and write the training folder.

        Examples begin with the latest `examples_share` of the log, earlier where that holds few takings
        (`examples_begin`), but not before `examples_from` (microseconds).
        """
        history = History.from_frames(frames.catalogue, frames.interactions, frames.impressions)
        items = frames.catalogue.items
        attributes = attributes_read(items, text)
        texts = item_texts(items, text, attributes)
        export_frames(
            items, frames.interactions, folder, before=frames.cutoff, impressions=frames.impressions, texts=texts
        )
        since = examples_begin(history, to_microseconds(frames.cutoff), examples_share, repeats=repeats)
        return cls(
            catalogue=frames.catalogue,
            texts=texts,
            attributes=attributes,
            history=history,
            impressions=frames.impressions,
            cutoff=frames.cutoff,
            examples_since=None if since is None else max(since, examples_from),
            folder=folder,
        )


@contextmanager
def scratch_folder(workspace: Workspace) -> Iterator[Path]:
    """Give a folder for what training needs meanwhile; it is gone afterwards."""
    with scratch(workspace.root, TRAINING) as folder:
        yield folder
