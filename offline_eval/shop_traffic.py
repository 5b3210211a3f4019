"""What happens in the simulated shop on one day? Visits, slates, clicks by position and taste, and what follows."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from offline_eval.shop_catalogue import Catalogue
from offline_eval.shop_customers import Customers, season
from offline_eval.shop_shelves import PLACES, Ints, Shelves, fill_slates, lay_out

KINDS: tuple[str, ...] = ("view", "click", "like", "comment", "share", "purchase", "hide")
"""Kinds of interaction in the simulated log, by code."""
KIND_WEIGHTS: tuple[float, ...] = (1.0, 2.0, 4.0, 5.0, 6.0, 10.0, -1.0)
"""Weight written beside each kind."""
VIEW, CLICK, LIKE, COMMENT, SHARE, PURCHASE, HIDE = range(len(KINDS))

_FOLLOW_UPS = ((LIKE, 0.40, 20.0), (COMMENT, 0.05, 90.0), (SHARE, 0.06, 60.0), (PURCHASE, 0.25, 150.0))
"""Kind, its probability at relevance 1, mean seconds after the view or click."""
_RESERVE = 4.5
"""Utility at which an examined item is clicked half of the time."""
_LOOKED_THROUGH = 30
"""Goods among which a searching user chooses."""
_MS_A_DAY = 86_400_000
_HOURS = np.array([2, 1, 1, 1, 1, 2, 4, 7, 9, 9, 9, 10, 12, 11, 9, 9, 10, 12, 15, 18, 20, 18, 12, 6], dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class Shop:
    """The whole hidden truth: goods, customers, the calendar and how eyes wander over a slate."""

    catalogue: Catalogue
    customers: Customers
    start: datetime
    """Midnight at which day 0 begins, naive UTC."""
    position_bias: float
    """Exponent of `examination`."""
    slate_size: int
    """Most items shown at once."""

    def examination(self, positions: NDArray[np.integer]) -> NDArray[np.float64]:
        """Give the probability that the 1-based position is looked at: position ** -position_bias."""
        return np.asarray(positions, dtype=np.float64) ** -self.position_bias

    def relevance(self, users: Ints, items: Ints, days: NDArray[np.float64]) -> NDArray[np.float32]:
        """Give the probability that each user (row), looking at the item (row) on that day, clicks it."""
        tastes = self.customers.tastes(users, days)
        for day in np.unique(np.floor(days)):
            tastes[np.floor(days) == day] += season(_day_of_year(self.start, int(day)))
        return relevance(tastes, np.arange(len(users)), self.catalogue, items)


@dataclass(frozen=True, kw_only=True)
class DayLog:
    """One day's rows as arrays; users and items by row, times in milliseconds since the start."""

    interactions: dict[str, NDArray[np.int64]]
    """user, item, kind, ms, session, request (-1 for none); sorted by ms."""
    impressions: dict[str, NDArray[np.int64]]
    """request, user, item, ms, position (1-based), clicked; sorted by request, position."""
    propensity: NDArray[np.float64]
    """Of each impression: probability that this item came at this position, given department and items above it."""
    n_sessions: int
    n_requests: int


def relevance(
    tastes: NDArray[np.float32], rows: NDArray[np.integer], catalogue: Catalogue, items: NDArray[np.integer]
) -> NDArray[np.float32]:
    """Give click probabilities under examination for items seen with the taste in each of `rows`; one number a pair."""
    return _clicked(_utility(tastes, rows, catalogue, items))


def _clicked(utility: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(1.0 / (1.0 + np.exp(np.float32(_RESERVE) - utility)), dtype=np.float32)


def _utility(
    tastes: NDArray[np.float32], rows: NDArray[np.integer], catalogue: Catalogue, items: NDArray[np.integer]
) -> NDArray[np.float32]:
    flat, base = tastes.ravel(), rows.astype(np.int64) * tastes.shape[1]
    utility: NDArray[np.float32] = catalogue.quality[items]
    for aspect in range(catalogue.item_words.shape[1]):
        utility += flat[base + catalogue.item_words[items, aspect]]
    return utility


def one_day(
    rng: np.random.Generator,
    shop: Shop,
    day: int,
    *,
    n_sessions: int,
    first_session: int,
    first_request: int,
    slates_a_session: float,
    searches_a_session: float,
) -> DayLog:
    """Let `n_sessions` visits happen on a day; session and request numbers count on from the given ones."""
    shelves = lay_out(rng, shop.catalogue, day)
    visits = _visits(rng, shop, day, n_sessions, shelves.open)
    slates = _show(rng, shop, visits, shelves, slates_a_session)
    chosen = [slates.clicks, _search(rng, shop, visits, shelves, searches_a_session)]
    parts = [*chosen, *(_follow_up(rng, deeds) for deeds in chosen), slates.hides]
    rows = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ("session", "item", "kind", "ms")}
    request = np.concatenate([part.request for part in parts])
    rows["user"] = visits.users[rows["session"]]
    rows["session"] = rows["session"] + first_session
    rows["request"] = np.where(request < 0, -1, request + first_request)
    order = np.argsort(rows["ms"], kind="stable")
    slates.impressions["request"] += first_request
    return DayLog(
        interactions={name: values[order] for name, values in rows.items()},
        impressions=slates.impressions,
        propensity=slates.propensity,
        n_sessions=len(visits.users),
        n_requests=slates.n_requests,
    )


@dataclass(frozen=True, kw_only=True)
class _Visits:
    """Today's sessions, by row."""

    users: Ints
    tastes: NDArray[np.float32]
    department: Ints
    begins: Ints


@dataclass(frozen=True, kw_only=True)
class _Deeds:
    """Things done, by row: session and request count from 0 on each day, request -1 is none."""

    session: Ints
    item: Ints
    request: Ints
    ms: Ints
    kind: Ints
    liking: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class _Slates:
    """What was shown, and what it led to."""

    impressions: dict[str, Ints]
    propensity: NDArray[np.float64]
    clicks: _Deeds
    hides: _Deeds
    n_requests: int


def _visits(rng: np.random.Generator, shop: Shop, day: int, n: int, departments: Ints) -> _Visits:
    """Draw who comes, when, and for which department."""
    customers = shop.customers
    active = (customers.joined_day <= day) & (day < customers.left_day)
    reach = np.cumsum(np.where(active, customers.activity, 0.0))
    n = n if reach[-1] > 0.0 and len(departments) else 0
    users = np.searchsorted(reach, rng.random(n) * reach[-1], side="right").astype(np.int64)
    tastes = customers.tastes(users, np.full(n, float(day))) + season(_day_of_year(shop.start, day))
    wish = tastes[:, departments] + rng.gumbel(size=(n, len(departments)))
    hour = rng.choice(24, size=n, p=_HOURS / _HOURS.sum())
    return _Visits(
        users=users,
        tastes=tastes,
        department=departments[wish.argmax(axis=1)] if n else users,
        begins=day * _MS_A_DAY + hour * 3_600_000 + rng.integers(0, 3_600_000, n),
    )


def _show(rng: np.random.Generator, shop: Shop, visits: _Visits, shelves: Shelves, mean: float) -> _Slates:
    """Show slates of the session's department or of another one, and let eyes and taste decide."""
    session = np.repeat(np.arange(len(visits.users)), rng.poisson(mean, len(visits.users)))
    asked = visits.begins[session] + rng.integers(0, 900_000, len(session))
    order = np.argsort(asked, kind="stable")
    session, asked = session[order], asked[order]
    wanders = rng.random(len(session)) < 0.3
    elsewhere = shelves.open[rng.integers(0, max(1, len(shelves.open)), len(session))]
    draws, stands, propensity = fill_slates(
        rng, shelves, np.where(wanders, elsewhere, visits.department[session]), shop.slate_size
    )
    request, _ = np.nonzero(stands)
    item, position = draws[stands].astype(np.int64), stands.cumsum(axis=1)[stands]
    liking = relevance(visits.tastes, session[request], shop.catalogue, item)
    looked = rng.random(len(item)) < shop.examination(position)
    dice = rng.random(len(item))
    clicked = looked & (dice < liking)
    hidden = looked & ~clicked & (dice > 1.0 - 0.01 * (1.0 - liking) ** 2)
    reacts = asked[request] + 2_000 + 3_000 * position + rng.integers(0, 4_000, len(item))

    def deeds(which: NDArray[np.bool_], kind: int) -> _Deeds:
        return _Deeds(
            session=session[request][which],
            item=item[which],
            request=request[which],
            ms=reacts[which],
            kind=np.full(int(which.sum()), kind, dtype=np.int64),
            liking=liking[which],
        )

    return _Slates(
        impressions={
            "request": request,
            "user": visits.users[session[request]],
            "item": item,
            "ms": asked[request],
            "position": position,
            "clicked": clicked.astype(np.int64),
        },
        propensity=propensity[stands],
        clicks=deeds(clicked, CLICK),
        hides=deeds(hidden, HIDE),
        n_requests=len(session),
    )


def _search(rng: np.random.Generator, shop: Shop, visits: _Visits, shelves: Shelves, mean: float) -> _Deeds:
    """Let users pick the best of a few goods of their department: taste speaks without any position."""
    session = np.repeat(np.arange(len(visits.users)), rng.poisson(mean, len(visits.users)))
    found = shelves.table[visits.department[session][:, None], rng.integers(0, PLACES, (len(session), _LOOKED_THROUGH))]
    looker = np.repeat(session, _LOOKED_THROUGH)
    utility = _utility(visits.tastes, looker, shop.catalogue, found.ravel()).reshape(found.shape)
    # The first of exponential waits with rates exp(utility) is a softmax choice, and cheaper than Gumbel noise.
    wait = rng.standard_exponential(found.shape, dtype=np.float32) * np.exp(-utility)
    best = wait.argmin(axis=1)
    rows = np.arange(len(session))
    return _Deeds(
        session=session,
        item=found[rows, best].astype(np.int64),
        request=np.full(len(session), -1, dtype=np.int64),
        ms=visits.begins[session] + rng.integers(0, 900_000, len(session)),
        kind=np.full(len(session), VIEW, dtype=np.int64),
        liking=_clicked(utility[rows, best]),
    )


def _follow_up(rng: np.random.Generator, deeds: _Deeds) -> _Deeds:
    """Let some views and clicks lead to more, the likelier the better the item is liked."""
    rows, kinds, waits = [], [], []
    for kind, chance, seconds in _FOLLOW_UPS:
        does = np.flatnonzero(rng.random(len(deeds.liking)) < chance * deeds.liking)
        rows.append(does)
        kinds.append(np.full(len(does), kind, dtype=np.int64))
        waits.append((1_000 + rng.exponential(1_000 * seconds, len(does))).astype(np.int64))
    row = np.concatenate(rows)
    return _Deeds(
        session=deeds.session[row],
        item=deeds.item[row],
        request=deeds.request[row],
        ms=deeds.ms[row] + np.concatenate(waits),
        kind=np.concatenate(kinds),
        liking=deeds.liking[row],
    )


def _day_of_year(start: datetime, day: int) -> float:
    return start.timetuple().tm_yday + day
