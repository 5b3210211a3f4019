"""Recommend by one source alone: what does the blend add to the best of its parts?

    python benchmarks/quality_parts.py WORKSPACE QUERIES OUT

asks the bundle that serves, once for each source, and writes OUT/<source>.parquet with what `readrank recommend` would
write if there were no other source, no blend and no places for new items.
"""

# ruff: noqa: E402
import sys
from pathlib import Path

# as a script, this file's own folder comes first and would hide the room `ranker` behind a benchmark
sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from dataclasses import fields, replace

from threadpoolctl import threadpool_limits

from ingest.workspace import Workspace
from ranker.batch import history_of
from ranker.bundle import live_folder
from ranker.candidates import CandidatesConfig
from ranker.fusion import Fusion
from ranker.many import recommend_many
from ranker.model import Model
from ranker.query_files import read_queries, write_answers
from ranker.rank import Ranker
from ranker.sources import SOURCES

K = 50


def main() -> None:
    """Write one file a source."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("workspace", "queries", "out"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    workspace = Workspace.open(given.workspace)
    ranker, queries = Ranker.load(live_folder(workspace.bundles_path)), read_queries(given.queries)
    given.out.mkdir(parents=True, exist_ok=True)
    with threadpool_limits(1):
        history = history_of(workspace, ranker)
        for source in SOURCES:
            if source == "repeats" and not ranker.model.rules.repeats:
                continue
            answers = recommend_many(alone(ranker.model, source), queries, K, history)
            write_answers(answers, given.out / f"{source}.parquet")


def alone(model: Model, source: str) -> Model:
    """Return a model that proposes by one source and orders by nothing else."""
    sizes = {field.name: K * (field.name == source) for field in fields(CandidatesConfig)}
    return Model(
        sources=model.sources,
        blend=Fusion(),
        blend_given=Fusion(),
        candidates=CandidatesConfig(**sizes),
        rules=replace(model.rules, fresh_every=0, diversity=0.0, caps={}),
        cutoff=model.cutoff,
        known_until=model.known_until,
    )


if __name__ == "__main__":
    main()
