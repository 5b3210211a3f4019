"""What does a person read after a load, a removal or a search for what is left of somebody?"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.mentions import HOW_IT_DECIDES

if TYPE_CHECKING:
    from ingest.drain import Drained
    from ingest.erase import Forgotten
    from ingest.load_reading import LoadReport
    from ingest.quality import Finding
    from ingest.retention import Retained
    from ingest.verify_erasure import Searched


_KINDS_TOLD = 20
"""A log with more unknown kinds has something else in that column: a line for each would tell nothing."""


def load_lines(reports: "Sequence[LoadReport]") -> Iterator[str]:
    """Tell what became of each file, and what the person may want to look at."""
    if not reports:
        yield "nothing to try again: rejected_rows holds no row that settings could mend"
    for report in reports:
        if report.table is None:
            yield f"{report.path}: nothing to load (empty, or passed over by the preset)" + _passed_over(report)
            continue
        yield (
            f"{report.path}: {report.table}: {report.rows_read:,} rows read = {report.rows_loaded:,} loaded"
            f" + {report.rows_duplicate:,} duplicate + {report.rows_rejected:,} rejected"
            + _passed_over(report)
            + _attention(report.findings)
        )
        for code, n_rows in report.reasons.items():
            yield f"  rejected {code}: {n_rows:,} (see the table rejected_rows)"
        if report.rejected_before:
            yield f"  {report.rejected_before:,} of them were kept already, from an earlier load of this file"
        for kind, n_rows in islice(report.unknown_kinds.items(), _KINDS_TOLD):
            yield f"  kind '{kind}' is not under [kinds] in readrank.toml and counts 1: {n_rows:,} rows"
        if len(report.unknown_kinds) > _KINDS_TOLD:
            further = len(report.unknown_kinds) - _KINDS_TOLD
            yield f"  and {further:,} further kinds; if the column holds something else, name another under [columns]"
        if report.without_text:
            yield f"  {report.without_text:,} items have neither title, description nor categories"


def drain_lines(path: Path, drained: "Drained | None") -> Iterator[str]:
    """Tell what came over HTTP meanwhile."""
    if drained is not None:
        yield (
            f"{path}: drained {drained.events:,} events (+ {drained.duplicates:,} duplicate), "
            f"{drained.requests:,} requests, {drained.impressions:,} impressions" + _attention(drained.findings)
        )


def _passed_over(report: "LoadReport") -> str:
    return "".join(
        f"; {n_rows:,} {what} passed over, no table holds them" for what, n_rows in report.passed_over.items()
    )


def _attention(findings: "Iterable[Finding]") -> str:
    return "".join(f"; attention: {finding.message}" for finding in findings if finding.raised)


def retention_lines(retained: "Retained") -> Iterator[str]:
    """Tell what was too old and is gone."""
    for place, n_rows in retained.rows.items():
        yield f"retention removed {n_rows:,} rows of {place}"
    for version in retained.bundles:
        yield f"retention removed bundle {version}"
    for name in retained.leftovers:
        yield f"removed {name}, which a killed job had left"


def erasure_lines(forgotten: "Forgotten") -> Iterator[str]:
    """Tell what was removed of a person."""
    for name in forgotten.leftovers:
        yield f"removed {name}, which a killed job had left"
    if forgotten.receipt_id is None:
        yield "nothing was held under that id; check its spelling"
        return
    if forgotten.completed:
        yield "completed an erasure that had been broken off"
    for place, n_rows in forgotten.rows.items():
        yield f"removed {n_rows:,} rows of {place}"
    yield f"receipt {forgotten.receipt_id}"


def search_lines(searched: "Searched") -> Iterator[str]:
    """Tell where a person is still named, and which bundles still know of them."""
    for title, places in (
        ("still named in", searched.found),
        ("not searched", searched.unsearched),
        ("look yourself", searched.doubtful),
    ):
        for place in places:
            yield f"{title}: {place.place}: {place.count:,}" + (f" ({place.note})" if place.note else "")
    for bundle in searched.expected:
        due = f"gone by {bundle.gone_by:%Y-%m-%d}" if bundle.gone_by else "no setting removes it"
        yield (
            f"bundle {bundle.version} was trained with that person: {due}"
            + (", once another one serves: run `readrank train`" if bundle.live else "")
        )
    if searched.clean:
        yield f"nothing found in {searched.files:,} files" + (" but these bundles" if searched.expected else "")
    yield f"  ({HOW_IT_DECIDES})"
