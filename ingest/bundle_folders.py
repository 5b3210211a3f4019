"""Which bundles lie in the workspace, which must stay, and who is in them? Nothing of a model is loaded here."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from ingest import columns as c
from ingest.held import held

MANIFEST: Final = "manifest.json"
LIVE: Final = "live"
PREVIOUS: Final = "previous"
USERS: Final = "history/users.parquet"
REMOVED: Final = ".removed-"
"""How the name of a bundle begins that is being removed."""


@dataclass(frozen=True, kw_only=True)
class BundleFolder:
    """What its manifest says of a bundle, unchecked."""

    folder: Path
    created_at: datetime
    cutoff: datetime
    known_until: datetime
    """Its history holds what happened before."""
    outbox_seq: int
    feature_names: list[str] | None
    refreshed: bool
    """Whether it was not trained, but has an earlier one's models over a newer catalogue and history."""
    live: bool
    """Whether it serves."""
    previous: bool
    """Whether it served before the live one."""

    @property
    def version(self) -> str:
        """Name of the folder."""
        return self.folder.name


def bundle_folders(bundles: Path) -> list[BundleFolder]:
    """Return the complete bundles, oldest first; folders whose manifest cannot be read are left out."""
    if not bundles.is_dir():
        return []
    live, previous = version_named_by(bundles, LIVE), version_named_by(bundles, PREVIOUS)
    found = []
    for folder in bundles.iterdir():
        try:
            said = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            bundle = BundleFolder(
                folder=folder,
                created_at=datetime.fromisoformat(said["created_at"]),
                cutoff=datetime.fromisoformat(said["cutoff"]),
                known_until=datetime.fromisoformat(said.get("known_until") or said["cutoff"]),
                outbox_seq=int(said["outbox_seq"]),
                feature_names=said.get("feature_names"),
                refreshed=said.get("refreshed") is not None,
                live=folder.name == live,
                previous=folder.name == previous,
            )
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if not folder.name.startswith("."):
            found.append(bundle)
    return sorted(found, key=lambda bundle: (bundle.created_at, bundle.version))


def version_named_by(bundles: Path, pointer: str) -> str | None:
    """Return the version that `live` or `previous` names, None when it names none, as when it is damaged."""
    try:
        return (bundles / pointer).read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def holds(bundle: BundleFolder, ids: Sequence[str]) -> bool:
    """Whether one of the users is in the bundle's history: one column of one file is read."""
    import polars as pl

    users = bundle.folder / USERS
    if not users.is_file():
        return False
    return not pl.scan_parquet(users).filter(pl.col(c.USER_ID).is_in(list(ids))).head(1).collect().is_empty()


def remove_bundle(bundle: BundleFolder) -> None:
    """Remove a bundle; killed half-way it is no bundle any more, and `clear_leftovers` does the rest."""
    going = bundle.folder.with_name(REMOVED + bundle.version)
    with held(going, wait=True):
        bundle.folder.rename(going)
        shutil.rmtree(going)
