"""What do analysts hear of bundles after they were made? Which serves now, and what the numbers of its answers mean."""

from pathlib import Path
from typing import TYPE_CHECKING

from ingest.bundle_folders import LIVE, bundle_folders, version_named_by

if TYPE_CHECKING:
    from ingest.store import Store


def tell_bundles(store: "Store", bundles: Path) -> None:
    """Bring the table `bundles` up to what the folder says; writes nothing when it is.

    A bundle is promoted at once, also while a job has the store, so the store hears of it at the next publishing. One
    whose folder is gone is retired, whoever removed it: a killed job may not have come to say so. One whose folder has
    come back, from a backup say, is no longer.
    Earlier versions of readrank left `feature_names` empty: those of bundles that are still there are filled in.
    """
    tell_new_bundles(store, bundles)
    nameless = "SELECT version FROM bundles WHERE feature_names IS NULL"
    with store.transaction() as connection:
        versions = [version for (version,) in connection.execute("SELECT version FROM bundles").fetchall()]
        gone = [version for version in versions if not (bundles / version).is_dir()]
        connection.execute(
            "UPDATE bundles SET status = 'retired' WHERE status <> 'retired' AND list_contains($gone, version)",
            {"gone": gone},
        )
        for bundle in bundle_folders(bundles):
            connection.execute(
                "UPDATE bundles SET status = ? WHERE status = 'retired' AND version = ?",
                ["refreshed" if bundle.refreshed else "trained", bundle.version],
            )
        connection.execute(
            """
            UPDATE bundles SET status = CASE WHEN status = 'live' THEN 'served' ELSE 'live' END
            WHERE (status = 'live') <> (version IS NOT DISTINCT FROM $live) AND NOT list_contains($gone, version)
            """,
            {"live": version_named_by(bundles, LIVE), "gone": gone},
        )
        wanted = {version for (version,) in connection.execute(nameless).fetchall()}
        for bundle in bundle_folders(bundles) if wanted else ():
            if bundle.version in wanted:
                connection.execute(
                    "UPDATE bundles SET feature_names = $names WHERE version = $version",
                    {"names": bundle.feature_names, "version": bundle.version},
                )


def tell_new_bundles(store: "Store", bundles: Path) -> None:
    """Give each bundle of the folder that the table `bundles` lacks its row.

    A training adds its own row; if another job held the store then, the next publishing adds it.
    """
    with store.transaction() as connection:
        known = {version for (version,) in connection.execute("SELECT version FROM bundles").fetchall()}
        for bundle in bundle_folders(bundles):
            if bundle.version not in known:
                status = "refreshed" if bundle.refreshed else "trained"
                connection.execute(
                    "INSERT INTO bundles (version, cutoff, created_at, status, feature_names) VALUES (?, ?, ?, ?, ?)",
                    [bundle.version, bundle.cutoff, bundle.created_at, status, bundle.feature_names],
                )
