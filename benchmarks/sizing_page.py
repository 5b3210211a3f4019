"""What does docs/sizing.md say? Made from measured figures alone: who wants other words changes them here."""

from typing import Any

MIB = 1 << 20
GB = 1e9


def sizing_page(rows: list[dict[str, Any]], machine: dict[str, Any], command: str) -> str:
    """Return the page; `rows` are loads of rising size, as the benchmark tells them."""
    largest = rows[-1]
    stored = largest["store_bytes"] / largest["rows_loaded"]
    table = "\n".join(
        f"| {row['events']:,} | {row['seconds']:,.1f} | {row['rows_read'] / row['seconds']:,.0f} "
        f"| {row['peak_bytes'] / MIB:,.0f} MiB | {row['store_bytes'] / GB:,.2f} GB "
        f"| {row['store_bytes'] / row['rows_loaded']:,.0f} | {row['scratch_bytes'] / GB:,.2f} GB |"
        for row in rows
    )
    software = ", ".join(f"{name} {machine[name.lower()]}" for name in ("Python", "DuckDB", "Polars"))
    hundred = 100e6 * stored / GB
    most, least = (f"{row['events']:,} events held {row['peak_bytes'] / MIB:,.0f} MiB" for row in (largest, rows[0]))
    return f"""# Sizing

What loading interactions needs, measured on {machine["date"]}. `benchmarks/ingest.py` writes this page:

    {command}

{machine["cores"]} cores, {machine["memory_gib"]} GiB of memory, {machine["system"]}; {software}. One file of JSON lines
from the simulator, with ids of events, sessions and requests, ill-formed and repeated lines in it, loaded into an empty
store. Seconds run from the opening of the store to its closing; the file lies in the page cache as far as it fits.

| events | seconds | events/s | peak memory | store | bytes an event | beside the store meanwhile |
| --- | --- | --- | --- | --- | --- | --- |
{table}

- **Disk.** Count {stored:,.0f} bytes for each event, and while a load runs what stands in the last column (write-ahead
  log and spilled data). `analytics.duckdb` is a copy of the store: count the store twice, and a third time while
  `readrank publish` writes the next copy. 100 million such events make about {hundred:,.0f} GB,
  {2 * hundred:,.0f} GB with the copy.
- **Memory.** A load of {most} at most, libraries included; one of {least}.
- **Other logs.** Events without an id cost an MD5 each; columns that are not ours are kept as JSON and cost their
  length. Measure your own: `loads` tells rows and times of every file, and the size of `readrank.duckdb` the rest.
"""
