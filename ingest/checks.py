"""Which rows can be believed? Values are parsed column by column; a row that fails a rule is kept aside, with why."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import isfinite
from typing import Annotated

import polars as pl

from ingest import columns as c
from ingest.bounds import Bounds, Days, Positive, check_bounds
from ingest.event_rules import CONTROL_CHARACTER, MOST_WEIGHT
from ingest.mapping import Table
from ingest.moments import EPOCH
from ingest.settings import GATHERS_REST
from ingest.times import NAIVE_UTC, parse_times
from ingest.values import as_categories, as_flag, as_kind, as_number, as_text, bare, is_absent, is_plain, nulls

REJECTED_SCHEMA = {c.ROW: pl.Int64, c.LINE: pl.Int64, c.REASON_CODE: pl.String, c.DETAIL: pl.String}


@dataclass(frozen=True, kw_only=True)
class ChecksConfig:
    """What makes a row unacceptable, and how many such rows make a file unacceptable."""

    max_id_length: Positive = 512
    """Longest id in characters; rows with a longer one are rejected."""
    max_rejected_share: Annotated[float, Bounds(least=0, most=1, way_out="write 0.05 for 5 %")] = 0.5
    """A file with a larger share of rejected rows is refused whole, and so is one without any good row."""
    future_tolerance_days: Days = 1.0
    """Times later than now by more than this are rejected."""
    time_format: str | None = None
    """strftime format that is tried first on times given as text, such as "%d/%m/%Y %H:%M"."""

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, kw_only=True)
class KindsConfig:
    """How much each kind of interaction counts where the log itself has no weight; negative is a dislike."""

    weights: dict[str, float] = field(
        default_factory=lambda: {
            "view": 1.0,
            "click": 2.0,
            "like": 4.0,
            "save": 4.0,
            "bookmark": 4.0,
            "follow": 4.0,
            "comment": 5.0,
            "cart": 5.0,
            "share": 6.0,
            "purchase": 10.0,
            "hide": -1.0,
            "dislike": -1.0,
        },
        metadata=GATHERS_REST,
    )
    """One line for each kind, in lower case; a kind that is not named here counts 1 and is reported."""

    def __post_init__(self) -> None:
        for kind, weight in self.weights.items():
            if not abs(weight) <= MOST_WEIGHT:
                wanted = f"-{MOST_WEIGHT:,.0f} to {MOST_WEIGHT:,.0f}" if isfinite(weight) else "a finite number"
                raise ValueError(f"{kind}: wanted {wanted}, got {weight}")
        # Logs are read so, and a kind that no event has would be no mistake anybody sees.
        object.__setattr__(self, "weights", {kind.strip().lower(): weight for kind, weight in self.weights.items()})


@dataclass(frozen=True)
class Checked:
    """What was kept and what was not."""

    good: pl.DataFrame
    """Parsed rows, in the store's types, every column of the table present, with `line`."""
    rejected: pl.DataFrame
    """row (its place in the batch, from 0), line, reason_code, detail."""
    unknown_kinds: dict[str, int] = field(default_factory=dict)
    """Good rows by kind that no setting names, where the kind's weight was needed."""


class Checker:
    """Checks batches of one load: settings and the present moment are fixed when it is made."""

    def __init__(self, checks: ChecksConfig, kinds: KindsConfig, *, now: datetime) -> None:
        self.checks = checks
        self.kinds = kinds
        self.latest = now + timedelta(days=checks.future_tolerance_days)
        self.too_late = (
            f"lies over {checks.future_tolerance_days:g} days in the future; correct it, or raise "
            "future_tolerance_days under [checks]"
        )

    def check(self, table: Table, rows: pl.DataFrame) -> Checked:
        """Parse and judge rows whose columns have our names; absent columns read as null."""
        if table == "items":
            return self._items(rows)
        if table == "interactions":
            return self._interactions(rows)
        return self._impressions(rows)

    def _items(self, rows: pl.DataFrame) -> Checked:
        raw = _Columns(rows)
        parsed = rows.select(
            c.LINE,
            as_text(raw[c.ITEM_ID]),
            _readable(as_text(raw[c.TITLE])),
            _readable(as_text(raw[c.DESCRIPTION])),
            as_categories(raw[c.CATEGORIES]),
            raw[c.REST].alias(c.ATTRIBUTES),
            parse_times(raw[c.PUBLISHED_AT], self.checks.time_format),
            as_flag(raw[c.AVAILABLE]),
            parse_times(raw[c.UPDATED_AT], self.checks.time_format),
        )
        judge = _Judge(rows, parsed)
        judge.id(c.ITEM_ID, self.checks.max_id_length)
        judge.unreadable(c.PUBLISHED_AT, "bad_time", "is not a time; pass --time-format")
        judge.unreadable(c.AVAILABLE, "bad_available", "is neither true nor false")
        judge.unreadable(c.UPDATED_AT, "bad_time", "is not a time; pass --time-format")
        judge.within(c.UPDATED_AT, self.latest, self.too_late)
        checked = judge.verdict()
        return Checked(checked.good.with_columns(pl.col(c.AVAILABLE).fill_null(True)), checked.rejected)

    def _interactions(self, rows: pl.DataFrame) -> Checked:
        raw = _Columns(rows)
        parsed = rows.select(
            c.LINE,
            as_text(raw[c.EVENT_ID]),
            as_text(raw[c.USER_ID]),
            as_text(raw[c.ITEM_ID]),
            as_kind(raw[c.KIND]),
            as_number(raw[c.WEIGHT]),
            parse_times(raw[c.OCCURRED_AT], self.checks.time_format),
            as_text(raw[c.REQUEST_ID]),
            as_text(raw[c.SESSION_ID]),
            raw[c.REST].alias(c.CONTEXT),
        )
        judge = _Judge(rows, parsed)
        for name in (c.USER_ID, c.ITEM_ID):
            judge.id(name, self.checks.max_id_length)
        for name in (c.EVENT_ID, c.REQUEST_ID, c.SESSION_ID, c.KIND):
            judge.id(name, self.checks.max_id_length, required=False)
        judge.time(c.OCCURRED_AT, self.latest, self.too_late)
        judge.unreadable(c.WEIGHT, "bad_weight", "is not a finite number")
        judge.no_larger(c.WEIGHT, MOST_WEIGHT, "bad_weight")
        checked = judge.verdict()
        return Checked(checked.good, checked.rejected, self._unknown_kinds(checked.good))

    def _impressions(self, rows: pl.DataFrame) -> Checked:
        raw = _Columns(rows)
        position = as_number(raw[c.POSITION])
        parsed = rows.select(
            c.LINE,
            as_text(raw[c.REQUEST_ID]),
            as_text(raw[c.USER_ID]),
            as_text(raw[c.ITEM_ID]),
            parse_times(raw[c.OCCURRED_AT], self.checks.time_format),
            as_flag(raw[c.CLICKED]),
            position.set((position != position.round()) | (position < 0), None).cast(pl.Int32, strict=False),
            as_number(raw[c.PROPENSITY]),
            as_number(raw[c.SCORE]),
        )
        judge = _Judge(rows, parsed)
        for name in (c.REQUEST_ID, c.USER_ID, c.ITEM_ID):
            judge.id(name, self.checks.max_id_length)
        judge.time(c.OCCURRED_AT, self.latest, self.too_late)
        judge.unreadable(c.CLICKED, "bad_clicked", "is neither true nor false")
        judge.unreadable(c.POSITION, "bad_position", "is not a whole number of 0 or more")
        judge.unreadable(c.PROPENSITY, "bad_propensity", "is not a number")
        judge.rule(
            "bad_propensity",
            (pl.col(c.PROPENSITY) <= 0) | (pl.col(c.PROPENSITY) > 1),
            c.PROPENSITY,
            "is not a probability over 0 and up to 1",
        )
        judge.unreadable(c.SCORE, "bad_score", "is not a finite number")
        return judge.verdict()

    def _unknown_kinds(self, good: pl.DataFrame) -> dict[str, int]:
        if good[c.WEIGHT].null_count() == 0:
            return {}
        unweighted = good.lazy().filter(pl.col(c.WEIGHT).is_null() & ~pl.col(c.KIND).is_in(list(self.kinds.weights)))
        return dict(unweighted.group_by(c.KIND).len().sort(c.KIND).collect().iter_rows())


class _Columns:
    """The columns of a batch by name; one that the file lacks is all null."""

    def __init__(self, rows: pl.DataFrame) -> None:
        self.rows = rows

    def __getitem__(self, name: str) -> pl.Series:
        if name in self.rows.columns:
            return self.rows[name]
        return nulls(name, pl.String, self.rows.height)


class _Judge:
    """Collects rules over a batch; the first rule that a row breaks is its reason."""

    def __init__(self, rows: pl.DataFrame, parsed: pl.DataFrame) -> None:
        self.rows = rows
        self.parsed = parsed
        self.rules: list[tuple[str, pl.Expr, str, str]] = []

    def rule(self, code: str, broken: pl.Expr, column: str, detail: str) -> None:
        """Reject rows where `broken` holds over the parsed columns; null counts as not broken."""
        self.rules.append((code, broken, column, detail))

    def id(self, name: str, max_length: int, *, required: bool = True) -> None:
        """Strip an id of blanks around it, and rule: there, not too long, without control characters."""
        value = pl.col(name)
        ids = self.parsed[name]
        plain = is_plain(ids)
        if not plain:
            ids = bare(ids)
            self.parsed = self.parsed.with_columns(ids)
        if required and ids.null_count():
            self.rule(f"missing_{name}", value.is_null(), name, "is missing")
        if plain and not (ids.str.len_bytes() > max_length).any():
            return
        too_long = (value.str.len_bytes() > max_length) & (value.str.len_chars() > max_length)
        self.rule(
            "long_id", too_long, name, f"has more than {max_length} characters; raise max_id_length under [checks]"
        )
        self.rule("control_character", value.str.contains(CONTROL_CHARACTER), name, "holds a control character")

    def time(self, name: str, latest: datetime, too_late: str) -> None:
        """Rules of a moment: there, readable, from 1970 on, not after `latest`."""
        moments = self.parsed[name]
        if moments.null_count():
            self.rule("missing_time", self._absent(name) & pl.col(name).is_null(), name, "is missing")
            self.unreadable(name, "bad_time", "is not a time; pass --time-format")
        self.within(name, latest, too_late)

    def within(self, name: str, latest: datetime, too_late: str) -> None:
        """Rules of a moment that is there: from 1970 on, not after `latest`."""
        moments = self.parsed[name]
        if moments.null_count() < moments.len():
            if moments.min() < EPOCH:  # type: ignore[operator]
                self.rule("before_1970", pl.col(name) < pl.lit(EPOCH, NAIVE_UTC), name, "lies before 1970")
            if moments.max() > latest:  # type: ignore[operator]
                self.rule("future_time", pl.col(name) > pl.lit(latest, NAIVE_UTC), name, too_late)

    def no_larger(self, name: str, most: float, code: str) -> None:
        """Reject rows where a number is larger than `most`, whatever its sign."""
        size = self.parsed[name].abs()
        if (size > most).any():
            self.rule(code, pl.col(name).abs() > most, name, f"is not within -{most:,.0f} to {most:,.0f}")

    def unreadable(self, name: str, code: str, detail: str) -> None:
        """Reject rows where the file has a value but parsing gave none."""
        if name in self.rows.columns and self.parsed[name].null_count() > 0:
            self.rule(code, ~self._absent(name) & pl.col(name).is_null(), name, detail)

    def verdict(self) -> Checked:
        """Split the batch; every row lands on exactly one side."""
        if not self.rules:
            return Checked(self.parsed, pl.DataFrame(schema=REJECTED_SCHEMA))
        reason = pl.coalesce(
            [pl.when(broken).then(pl.lit(number, pl.Int16)) for number, (_, broken, _, _) in enumerate(self.rules)]
        )
        broken_rule = self.parsed.select(reason.alias(c.REASON_CODE)).to_series()
        if broken_rule.null_count() == broken_rule.len():
            return Checked(self.parsed, pl.DataFrame(schema=REJECTED_SCHEMA))
        bad = broken_rule.is_not_null()
        rejected = [self._explained((broken_rule == n).arg_true(), n) for n in broken_rule.drop_nulls().unique()]
        return Checked(self.parsed.filter(~bad), pl.concat(rejected).sort(c.LINE, c.ROW))

    def _explained(self, positions: pl.Series, number: int) -> pl.DataFrame:
        code, _, column, detail = self.rules[number]
        lines, values = self.rows[c.LINE].gather(positions), _Columns(self.rows)[column].gather(positions)
        values = as_text(values).fill_null("").str.slice(0, 80)
        details = [f"{column} '{value}' {detail}" if value else f"{column} {detail}" for value in values]
        found = {c.ROW: positions, c.LINE: lines, c.REASON_CODE: [code] * len(details), c.DETAIL: details}
        return pl.DataFrame(found).cast(REJECTED_SCHEMA)  # type: ignore[arg-type]

    def _absent(self, name: str) -> pl.Expr:
        """Whether the file itself has nothing there, as opposed to something unreadable."""
        return pl.lit(is_absent(_Columns(self.rows)[name]))


def _readable(text: pl.Series) -> pl.Series:
    """Drop NUL characters, which databases and tokenizers dislike; nobody reads them."""
    return text.str.replace_all("\x00", "", literal=True)
