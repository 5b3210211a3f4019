"""Which features are there, and what does each mean? Names, order, units and as-of rules, in one tuple."""

from dataclasses import dataclass
from typing import Final

from ranker.sources import SOURCES
from ranker.timeline import HOUR

DAY: Final = 24 * HOUR

LOG: Final = "log"
PAST: Final = "past"
FITTED: Final = "fitted"
BOTH: Final = "fitted, log"
CATALOGUE: Final = "catalogue"
OWN: Final = "past, catalogue"
MARKET: Final = "past, log, catalogue"
REQUEST: Final = "request"

AS_OF: Final = {
    LOG: "what anyone did strictly before the query's moment",
    PAST: "what the user did strictly before the query's moment",
    FITTED: "a model of an earlier slice of the log, asked with the user's past",
    BOTH: "models of an earlier slice, what anyone did strictly before the query's moment, and what could be had then",
    CATALOGUE: "the catalogue as it was at the training's cutoff",
    OWN: "what the user did strictly before the query's moment, and the catalogue as it was at the training's cutoff",
    MARKET: "what this user and anyone did strictly before the query's moment, and the catalogue as it was at the "
    "training's cutoff",
    REQUEST: "the request itself",
}
"""What a feature may know."""

FUSION_OFFSET: Final = 60
"""Added to each rank before ranks are fused (Cormack, Clarke, Büttcher, SIGIR 2009)."""
WINDOWS: Final = {"1h": HOUR, "1d": DAY, "7d": 7 * DAY, "30d": 30 * DAY, "365d": 365 * DAY}
"""Windows of time, which end at the query's moment."""
SHARES: Final = {"0.2%": 0.002, "1%": 0.01, "5%": 0.05, "25%": 0.25}
"""Windows that hold this latest share of the log's interactions, whatever its pace."""


@dataclass(frozen=True, kw_only=True)
class Feature:
    """What one column means; NaN wherever it is not defined for a pair."""

    name: str
    family: str
    meaning: str
    unit: str
    as_of: str
    """What it may know: a key of `AS_OF`."""
    speaks_for: bool = False
    """Whether more of it can only speak for an item: a blend may be held to that where examples are few."""


def _text(name: str, meaning: str, unit: str = "none", as_of: str = FITTED) -> Feature:
    return Feature(name=name, family="text interest", meaning=meaning, unit=unit, as_of=as_of, speaks_for=True)


def _similarity(name: str, meaning: str, *, speaks_for: bool = False) -> Feature:
    return Feature(name=name, family="similarity", meaning=meaning, unit="cosine", as_of=FITTED, speaks_for=speaks_for)


def _collaborative(name: str, meaning: str, unit: str = "none") -> Feature:
    return Feature(name=name, family="collaborative", meaning=meaning, unit=unit, as_of=FITTED, speaks_for=True)


def _affinity(name: str, meaning: str, unit: str = "share", *, speaks_for: bool = False, as_of: str = OWN) -> Feature:
    return Feature(name=name, family="affinity", meaning=meaning, unit=unit, as_of=as_of, speaks_for=speaks_for)


def _source(name: str, meaning: str, unit: str) -> Feature:
    return Feature(name=name, family="sources", meaning=meaning, unit=unit, as_of=BOTH)


def _popularity(
    name: str, meaning: str, unit: str = "log count", *, speaks_for: bool = False, as_of: str = LOG
) -> Feature:
    return Feature(name=name, family="popularity", meaning=meaning, unit=unit, as_of=as_of, speaks_for=speaks_for)


def _recency(name: str, meaning: str, unit: str = "log seconds", as_of: str = LOG) -> Feature:
    return Feature(name=name, family="recency", meaning=meaning, unit=unit, as_of=as_of)


def _habit(name: str, meaning: str, unit: str, as_of: str = PAST) -> Feature:
    return Feature(name=name, family="user habits", meaning=meaning, unit=unit, as_of=as_of)


def _item(name: str, meaning: str, unit: str) -> Feature:
    return Feature(name=name, family="item", meaning=meaning, unit=unit, as_of=CATALOGUE)


def _context(name: str, meaning: str, unit: str, as_of: str = REQUEST) -> Feature:
    return Feature(name=name, family="context", meaning=meaning, unit=unit, as_of=as_of)


FEATURES: Final = (
    _text("interest", "dot product of user and item by the tuned encoder, and what it gives to new items"),
    _text("interest_gap", "interest minus the user's mean interest in the catalogue"),
    _text("words", "TF-IDF similarity of the item to the user's past, decayed", "cosine"),
    _similarity("similar_last", "text vectors of the item and the user's last item", speaks_for=True),
    _similarity("similar_2nd", "the same, with the last but one"),
    _similarity("similar_3rd", "the same, with the last but two"),
    _similarity("similar_max", "largest with the user's last 10 items", speaks_for=True),
    _similarity("similar_mean", "mean with the user's last 10 items", speaks_for=True),
    _similarity("similar_session", "mean with those of them that belong to the present session"),
    _collaborative("together", "item-item weights from the user's past, decayed"),
    _collaborative("together_last", "item-item weight from the user's last item"),
    _collaborative("together_whole", "item-item weights from all different items of the user's past alike"),
    _collaborative("following", "weights of what follows the user's past, decayed"),
    _collaborative("following_last", "weight of what follows the user's last item"),
    _collaborative("straight_last", "of the steps from the user's last item, those straight to this one", "share"),
    _collaborative("factors", "dot product of collaborative factors"),
    _collaborative("factors_whole", "the same, of all different items of the user's past alike"),
    _affinity(
        "category",
        "category_share x sum of the log counts in the latest 5 % and 1 % of the log, at the last full hour",
        "none",
        as_of=MARKET,
    ),
    _affinity(
        "category_share",
        "sum of the user's decayed shares in the item's categories, by the root of their number",
        "none",
        speaks_for=True,
    ),
    _affinity(
        "facet_share", "mean of the user's decayed shares in the item's attribute values, such as its brand or author"
    ),
    _affinity(
        "facet_lift",
        "largest over the item's attribute values: 1 + the user's decayed share by the share of the catalogue",
        "log ratio",
        speaks_for=True,
    ),
    *(_source(f"rank_{s}", f"rank among what `{s}` proposed", "log rank") for s in SOURCES),
    _source("rank_best", "best rank in any source", "log rank"),
    _source("fused", f"sum of 1 / ({FUSION_OFFSET} + rank) over the sources", "none"),
    _source("n_sources", "how many sources proposed the item", "count"),
    *(_popularity(f"count_{w}", f"interactions of the last {w}") for w in WINDOWS),
    *(
        _popularity(f"share_{s}", f"interactions in the latest {s} of the log", "per 10,000 of that window")
        for s in SHARES
    ),
    _popularity("count_all", "all interactions"),
    _popularity("trend", "share in the latest 1 % by that in the latest 25 %, 1 added to both", "log ratio"),
    _popularity("season", "interactions in the 30 days after this day a year ago"),
    _popularity("click_rate", "clicks per impression, smoothed to the average", "share", speaks_for=True),
    _popularity("shown", "impressions"),
    _popularity(
        "alike_popular",
        "mean over the 20 touched items of the most similar texts, in the latest 5 % of the log at the last full hour",
        as_of=BOTH,
    ),
    _recency("age_first", "since the item's first interaction"),
    _recency("age_last", "since the item's last interaction"),
    _recency("age_published", "since publication; negative when it lies ahead", as_of=CATALOGUE),
    _recency("life_rate", "interactions a day since the first, 1 added to both", "log rate"),
    _recency("item_pace", "mean time between the item's interactions"),
    _habit("taken_before", "interactions of the user with this item, of whatever kind", "count"),
    _habit("taken_last", "since the user's latest interaction with this item, of whatever kind", "log seconds"),
    _habit(
        "activation",
        "sum of log2(1 + weight) by the root of hours since, over the user's interactions with this item",
        "log",
    ),
    _habit("user_count", "the user's interactions, of whatever kind", "log count"),
    _habit("user_idle", "since the latest positive of the user's last 50 interactions", "log seconds"),
    _habit("user_span", "from the first positive of the user's last 50 interactions to the latest", "log seconds"),
    _habit("user_pace", "mean time between the positive of the user's last 50 interactions", "log seconds"),
    _habit("user_repeats", "the user's interactions with an item not new to them, of whatever kind", "share"),
    _habit(
        "user_popular",
        "mean log count of the items of the user's positive interactions among the last 50",
        "log count",
        LOG,
    ),
    _habit("popular_gap", "log count of the item minus user_popular", "log ratio", LOG),
    _habit(
        "user_newness",
        "mean log age of the same items when the user took them, since anyone first met them in whatever way",
        "log seconds",
        LOG,
    ),
    _habit("newness_gap", "age_first minus user_newness", "log ratio", LOG),
    _habit("user_diversity", "1 - length of the mean text vector of the user's last 10 items", "none", FITTED),
    _habit("user_weight", "mean log weight of the positive of the user's last 50 interactions", "log weight"),
    _habit(
        "user_price",
        "mean log price of the items of the user's positive interactions among the last 50",
        "log price",
        OWN,
    ),
    _habit("price_gap", "log price of the item minus user_price", "log ratio", OWN),
    _habit("user_hour", "from the hour of day at which the user is usually there", "hours"),
    _item("price", "price of the item", "log price"),
    _item("n_categories", "categories of the item", "count"),
    _item(
        "n_words", "different words of the item's text, and runs of two words that another item has, too", "log count"
    ),
    _context("given", "1 when the caller gave the items, 0 when sources proposed them", "flag"),
    _context("hour", "hour of the day, UTC", "hours"),
    _context("weekday", "day of the week, Monday = 0", "days"),
    _context("session_length", "positive interactions of the present session", "count", PAST),
    _context("session_age", "since the present session began", "log seconds", PAST),
)
FEATURE_NAMES: Final = tuple(feature.name for feature in FEATURES)
FAMILIES: Final = tuple(dict.fromkeys(feature.family for feature in FEATURES))
