"""What would a shop's log look like if we knew what its customers truly want?

`simulate` writes a catalogue, an interaction log and an impression log, as a shop would hand them over, and beside them
in `truth/` what no log shows: every item's aspects and every user's taste. Texts reveal the aspects in full, categories
only a part. The same configuration gives the same bytes.
"""

import json
import logging
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ingest import columns as c
from ingest.progress import Progress, silent
from offline_eval import shop_catalogue, shop_customers
from offline_eval.shop_files import Format, LogFile
from offline_eval.shop_traffic import KIND_WEIGHTS, KINDS, DayLog, Shop, one_day

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SimulationConfig:
    """How large a shop, for how long, with which quirks."""

    seed: int = 7
    """Seed of everything drawn."""
    n_events: int = 50_000
    """About how many interactions are written (within some percent; ill-formed and repeated rows come on top)."""
    n_users: int | None = None
    """Number of users; by default one for each 40 events."""
    n_items: int | None = None
    """Number of items; by default it grows with the events, 200 for 1,000 and 100,000 for 10,000,000."""
    days: int = 365
    """Length of the log in days."""
    start: datetime = field(default_factory=lambda: datetime(2024, 1, 1))
    """Midnight at which the log begins, naive UTC."""
    interactions_format: Format = "jsonl"
    """Format of the interaction log."""
    impressions_format: Format = "parquet"
    """Format of the impression log."""
    ill_formed_share: float = 0.005
    """Ill-formed rows added for each true row: bad times, missing ids, text for numbers, broken lines."""
    repeated_share: float = 0.002
    """Rows written twice, as a log shipper that retries does."""
    late_user_share: float = 0.3
    """Users who first come while the log runs."""
    fresh_item_share: float = 0.35
    """Items that appear while the log runs."""
    drift_share: float = 0.3
    """Users whose taste changes, suddenly or over weeks."""
    position_bias: float = 0.7
    """Exponent: position p of a slate is looked at with probability p ** -position_bias."""
    slate_size: int = 10
    """Most items shown at once."""
    slates_a_session: float = 0.8
    """Mean number of slates shown in a session."""
    searches_a_session: float = 2.0
    """Mean number of items that a session finds without a slate."""
    chunk_rows: int = 250_000
    """Rows of either log held before they are written."""

    def sized(self) -> "SizedShop":
        """Settle numbers of users and items; at least 2 of each."""
        users = self.n_users if self.n_users is not None else self.n_events // 40
        growth = np.log(100_000 / 200) / np.log(10_000_000 / 1_000)
        items = self.n_items if self.n_items is not None else int(200 * (self.n_events / 1_000) ** growth)
        return SizedShop(n_users=max(2, users), n_items=max(2, items))


@dataclass(frozen=True, kw_only=True)
class SizedShop:
    """Settled numbers."""

    n_users: int
    n_items: int


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """What was written and what is true."""

    items: Path
    interactions: Path
    impressions: Path
    counts: dict[str, dict[str, int]]
    """Per file: true rows, ill_formed rows and repeated rows."""
    shop: Shop

    @property
    def files(self) -> list[Path]:
        """The three files in the order in which one would ingest them."""
        return [self.items, self.interactions, self.impressions]

    def true_preference(self, user_ids: list[str], item_ids: list[str], at: datetime) -> NDArray[np.float32]:
        """Give, for each pair, the probability that the user at that moment clicks the item once they look at it.

        Both lists have the same length. Depends on taste and season, which in the log are the same for all of a day,
        and on the item, not on whether it was taken before. Multiply by `examination(position)` for the probability in
        a slate.
        """
        users = np.array([int(user[1:]) for user in user_ids], dtype=np.int64)
        items = np.array([int(item[1:]) for item in item_ids], dtype=np.int64)
        day = (at - self.shop.start) // timedelta(days=1)
        return self.shop.relevance(users, items, np.full(len(users), float(day)))

    def examination(self, positions: NDArray[np.integer]) -> NDArray[np.float64]:
        """Give the probability that a 1-based position is looked at."""
        return self.shop.examination(positions)

    @classmethod
    def load(cls, folder: Path) -> "Simulation":
        """Read back what `simulate` wrote to a folder."""
        folder = Path(folder)
        told = json.loads((folder / "truth" / "simulation.json").read_text())
        with np.load(folder / "truth" / "items.npz") as arrays:
            catalogue = shop_catalogue.Catalogue(**{name: arrays[name] for name in arrays.files})
        with np.load(folder / "truth" / "users.npz") as arrays:
            customers = shop_customers.Customers(**{name: arrays[name] for name in arrays.files})
        shop = Shop(
            catalogue=catalogue,
            customers=customers,
            start=datetime.fromisoformat(told["start"]),
            position_bias=told["position_bias"],
            slate_size=told["slate_size"],
        )
        paths = {name: folder / told["files"][name] for name in ("items", "interactions", "impressions")}
        return cls(**paths, counts=told["counts"], shop=shop)


def simulate(config: SimulationConfig, folder: Path, *, progress: Progress = silent) -> Simulation:
    """Write items.jsonl, interactions.* and impressions.* and truth/ into `folder`, made if missing.

    Memory holds users, items and one chunk of rows of each log, however long. Items have `published_at`, and no row
    names an item before it. The log is sorted by time within a day.
    """
    folder = Path(folder)
    (folder / "truth").mkdir(parents=True, exist_ok=True)
    size = config.sized()
    draws = [np.random.default_rng(child) for child in np.random.SeedSequence(config.seed).spawn(5)]
    shop = Shop(
        catalogue=shop_catalogue.make_catalogue(draws[0], size.n_items, config.days, config.fresh_item_share),
        customers=shop_customers.make_customers(
            draws[1], size.n_users, config.days, config.late_user_share, config.drift_share
        ),
        start=config.start,
        position_bias=config.position_bias,
        slate_size=config.slate_size,
    )
    quirks = {"ill_formed": config.ill_formed_share, "repeated": config.repeated_share}
    with (
        LogFile(folder / "items.jsonl", draws[2], **quirks) as items,
        LogFile(folder / f"interactions.{config.interactions_format}", draws[3], **quirks) as interactions,
        LogFile(folder / f"impressions.{config.impressions_format}", draws[3], **quirks) as impressions,
    ):
        items.write(shop_catalogue.describe(draws[2], shop.catalogue, config.start))
        _run(draws[4], config, shop, interactions=interactions, impressions=impressions, progress=progress)
    files = {"items": items, "interactions": interactions, "impressions": impressions}
    counts = {
        name: {"rows": file.n_rows, "ill_formed": file.n_ill_formed, "repeated": file.n_repeated}
        for name, file in files.items()
    }
    told = {
        "start": config.start.isoformat(),
        "position_bias": config.position_bias,
        "slate_size": config.slate_size,
        "files": {name: file.path.name for name, file in files.items()},
        "counts": counts,
        "vocabulary": shop_catalogue.VOCABULARY,
        "aspects": shop_catalogue.ASPECTS,
    }
    np.savez(folder / "truth" / "items.npz", **_arrays(shop.catalogue))
    np.savez(folder / "truth" / "users.npz", **_arrays(shop.customers))
    (folder / "truth" / "simulation.json").write_text(json.dumps(told, indent=1))
    log.info("simulated users=%d items=%d interactions=%d", size.n_users, size.n_items, interactions.n_rows)
    return Simulation(**{name: file.path for name, file in files.items()}, counts=counts, shop=shop)


def _arrays(thing: shop_catalogue.Catalogue | shop_customers.Customers) -> dict[str, Any]:
    return {one.name: getattr(thing, one.name) for one in fields(thing)}


def _run(
    rng: np.random.Generator,
    config: SimulationConfig,
    shop: Shop,
    *,
    interactions: LogFile,
    impressions: LogFile,
    progress: Progress,
) -> None:
    """Let the days pass, and write whenever a chunk is full."""
    names = _Names(shop)
    weekly = 1.0 + 0.15 * np.cos(2 * np.pi * (np.arange(config.days) - 5) / 7)
    goal = np.cumsum(weekly * np.linspace(0.8, 1.2, config.days))
    goal *= config.n_events / goal[-1]
    sessions = requests = written = 0
    waiting: list[DayLog] = []
    a_session = 1.5 * (config.searches_a_session + 0.8 * config.slates_a_session)
    for day in range(config.days):
        # Sessions are as many as bring the log to the day's goal, by the rate seen so far.
        missing = max(0.0, goal[day] - written) / a_session
        n = int(missing) + int(rng.random() < missing % 1.0)
        happened = one_day(
            rng, shop, day, n_sessions=n, first_session=sessions, first_request=requests,
            slates_a_session=config.slates_a_session, searches_a_session=config.searches_a_session,
        )  # fmt: skip
        sessions, requests = sessions + happened.n_sessions, requests + happened.n_requests
        written += len(happened.interactions["user"])
        if sessions > 50:
            a_session = written / sessions
        waiting.append(happened)
        n_waiting = max(
            sum(len(one.interactions["user"]) for one in waiting), sum(len(one.impressions["user"]) for one in waiting)
        )
        if n_waiting >= config.chunk_rows or day == config.days - 1:
            interactions.write(names.interactions(waiting))
            impressions.write(names.impressions(waiting))
            waiting = []
        progress("simulate", written, config.n_events)


class _Names:
    """Turns rows, codes and milliseconds into the ids, kinds and times of a log."""

    def __init__(self, shop: Shop) -> None:
        self._users = pl.Series([f"u{row:07d}" for row in range(len(shop.customers.activity))], dtype=pl.String)
        self._items = shop_catalogue.item_ids(shop.catalogue.n_items)
        self._kinds = pl.Series(KINDS, dtype=pl.String)
        self._start = shop.start
        self._n_events = 0

    def interactions(self, days: list[DayLog]) -> pl.DataFrame:
        """Schema: event_id, user_id, item_id, kind, weight, occurred_at, session_id, request_id (null: no slate)."""
        rows = {name: np.concatenate([day.interactions[name] for day in days]) for name in days[0].interactions}
        n = len(rows["user"])
        numbers = pl.int_range(self._n_events, self._n_events + n, eager=True)
        self._n_events += n
        return pl.DataFrame({"number": numbers, "session": rows["session"], "request": rows["request"]}).select(
            _numbered("e", pl.col("number")).alias(c.EVENT_ID),
            self._users.gather(rows["user"]).alias(c.USER_ID),
            self._items.gather(rows["item"]).alias(c.ITEM_ID),
            self._kinds.gather(rows["kind"]).alias(c.KIND),
            pl.Series(c.WEIGHT, np.array(KIND_WEIGHTS)[rows["kind"]]),
            self._times(rows["ms"]),
            _numbered("s", pl.col("session")).alias(c.SESSION_ID),
            pl.when(pl.col("request") >= 0).then(_numbered("r", pl.col("request"))).alias(c.REQUEST_ID),
        )

    def impressions(self, days: list[DayLog]) -> pl.DataFrame:
        """Schema: request_id, user_id, item_id, occurred_at, clicked, position, propensity."""
        rows = {name: np.concatenate([day.impressions[name] for day in days]) for name in days[0].impressions}
        return pl.DataFrame({"request": rows["request"]}).select(
            _numbered("r", pl.col("request")).alias(c.REQUEST_ID),
            self._users.gather(rows["user"]).alias(c.USER_ID),
            self._items.gather(rows["item"]).alias(c.ITEM_ID),
            self._times(rows["ms"]),
            pl.Series(c.CLICKED, rows["clicked"] == 1),
            pl.Series(c.POSITION, rows["position"].astype(np.int32)),
            pl.Series(c.PROPENSITY, np.concatenate([day.propensity for day in days])),
        )

    def _times(self, ms: NDArray[np.int64]) -> pl.Series:
        start = np.datetime64(self._start, "us")
        return pl.Series(c.OCCURRED_AT, start + (ms * 1_000).astype("timedelta64[us]"))


def _numbered(letter: str, number: pl.Expr) -> pl.Expr:
    return pl.lit(letter) + number.cast(pl.String)
