"""Logs and catalogue into DuckDB: readers, checks, quarantine, schema, store, outbox, publishing."""

import os

# Polars' allocator (jemalloc) reads this once, when Polars is imported. Batches of one size follow one another: pages
# that are kept for ten seconds, in two arenas, are filled again instead of being asked anew of the system.
os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:10000,muzzy_decay_ms:10000,narenas:2")

# A zone may be an offset that no place's name stands for, such as +05:30 of pandas: it is turned to UTC all the same.
os.environ.setdefault("POLARS_IGNORE_TIMEZONE_PARSE_ERROR", "1")
