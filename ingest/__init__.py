"""Logs and catalogue into DuckDB: readers, checks, quarantine, schema, store, outbox, publishing."""
