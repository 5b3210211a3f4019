"""The command line: parses, calls one room, prints. What a command does lives in the room that it calls."""

import importlib
import io
import json
import logging
import math
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingest.errors import ReadrankError
from ingest.presets import PRESETS
from ingest.system_refusals import system_refusal
from ingest.typed_moment import typed_moment

if TYPE_CHECKING:
    from ingest.load_reading import LoadReport
    from ingest.progress import Progress
    from ingest.workspace import Workspace

SECTIONS = {
    "columns": "ingest.mapping:ColumnsConfig",
    "kinds": "ingest.checks:KindsConfig",
    "privacy": "ingest.pseudonyms:PrivacyConfig",
    "rules": "ranker.rules:RulesConfig",
    "retention": "ingest.retention:RetentionConfig",
    "text": "encoders.text:TextConfig",
    "checks": "ingest.checks:ChecksConfig",
    "quality": "ingest.quality:QualityConfig",
    "encoder": "encoders.train:EncoderConfig",
    "examples": "ranker.examples:ExamplesConfig",
    "candidates": "ranker.candidates:CandidatesConfig",
    "neighbours": "ranker.neighbours:NeighboursConfig",
    "factors": "ranker.factors:FactorsConfig",
    "blend": "ranker.boost:BlendConfig",
    "tune": "ranker.tune:TuneConfig",
    "evaluation": "offline_eval.questions:EvaluationConfig",
    "nightly": "offline_eval.nightly:NightlyConfig",
    "baselines": "offline_eval.systems:BaselinesConfig",
}
"""Sections of readrank.toml, those first that a shop sets, and their config classes, imported only when needed."""

DONE, FAILED, MISTAKE, REFUSED = 0, 1, 2, 3

app = typer.Typer(
    help="Recommendations that read: learn from what people do and from what items say.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@dataclass
class _Options:
    """What may stand before or after the command's name."""

    workspace: Path = Path(".")
    as_json: bool = False


_options = _Options()


def _set_workspace(value: Path | None) -> Path | None:
    if value is not None:
        _options.workspace = value
    return value


def _set_json(value: bool) -> bool:
    _options.as_json = _options.as_json or value
    return value


WorkspaceOption = Annotated[
    Path | None,
    typer.Option("--workspace", "-w", metavar="DIR", help="The workspace; default: here.", callback=_set_workspace),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.", callback=_set_json)]


@app.callback()
def options(
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show log lines.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an unexpected error.")] = False,
) -> None:
    """Recommendations that read: learn from what people do and from what items say."""
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, stream=sys.stderr)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to make; it may exist.")],
    as_json: JsonOption = False,
) -> None:
    """Make a workspace: a commented readrank.toml and an empty store."""
    from ingest.workspace import Workspace, commented_toml

    workspace = Workspace.create(folder, commented_toml({name: _config_class(name) for name in SECTIONS}))
    _print_result(
        {"workspace": str(workspace.root), "settings": str(workspace.settings_path)},
        f"made {workspace.root}; settings are in {workspace.settings_path}\n"
        f"next: readrank ingest FILE... --workspace {workspace.root}",
    )


@app.command()
def ingest(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE...", help="CSV, JSON lines or Parquet, also .gz, .zst; folders and patterns, too."
        ),
    ] = None,
    replay: Annotated[
        bool, typer.Option("--replay-rejected", help="Check rejected rows again, after settings were mended.")
    ] = False,
    preset: Annotated[
        str | None,
        typer.Option(metavar="NAME", help=f"Files of a known data set or tool: {', '.join(PRESETS)}."),
    ] = None,
    time_format: Annotated[
        str | None, typer.Option(help='strftime format of times given as text, such as "%d/%m/%Y %H:%M".')
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Load catalogue, interactions and impressions; what a file holds is told by its columns.

    Items need item_id and one of title, description, categories. Interactions need user_id, item_id, occurred_at.
    Impressions need request_id, user_id, item_id, occurred_at, clicked. Other names are mapped in readrank.toml,
    section columns. The same file twice changes nothing; bad rows are kept in the table rejected_rows, with why.
    A folder means the files in it and below, a pattern such as "logs/**/*.jsonl.gz" the files that it fits.
    What came over HTTP meanwhile goes into the store as well, and what retention lets go is removed.
    """
    from ingest.publish import publishing
    from ingest.spoken import drain_lines, load_lines, retention_lines
    from ingest.take_in import take_in

    if bool(files) == replay:
        raise typer.BadParameter("name files to load, or pass --replay-rejected without any")
    if replay and preset:
        raise typer.BadParameter("--preset says how to read files; rejected rows are read by their own: leave it away")
    space = _workspace()
    loaded: list[LoadReport] = []
    with publishing(space, _progress_bars):
        try:
            with _progress_bars() as progress:
                taken = take_in(
                    space,
                    files or [],
                    rejected=replay,
                    preset=preset,
                    time_format=time_format,
                    on_load=loaded.append,
                    progress=progress,
                )
        except Exception:
            if loaded:  # these files stay: people are told of them all the same
                _print_result([asdict(report) for report in loaded], "\n".join(load_lines(loaded)))
            raise
        results = [asdict(report) for report in taken.reports]
        if taken.drained is not None:
            results.append({"path": str(space.outbox_path), "drained": asdict(taken.drained)})
        if taken.retained:
            results.append({"path": str(space.root), "retention": asdict(taken.retained)})
        lines = [
            *load_lines(taken.reports),
            *drain_lines(space.outbox_path, taken.drained),
            *retention_lines(taken.retained),
        ]
        _print_result(results, "\n".join(lines))


@app.command()
def publish(
    parquet: Annotated[
        bool, typer.Option("--parquet", help="Also write analytics/: Parquet, for engines that are not DuckDB.")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replace analytics.duckdb, the analysts' read-only copy, by the store as it is now.

    Every job that writes does so by itself at its end. Parquet is written only when asked for; analytics/latest names
    it, and a later one replaces it as a whole.
    """
    from ingest.publish import publish as publish_store
    from ingest.publish_parquet import publish_parquet

    space = _workspace()
    places = {"path": publish_store(space)}
    if parquet:
        with _progress_bars() as progress:
            places["parquet"] = publish_parquet(space, progress=progress)
    _print_result(
        {name: str(path) for name, path in places.items()}, "\n".join(f"published {path}" for path in places.values())
    )


@app.command()
def train(
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Use nothing from this moment on (UTC).")] = None,
    encoder: Annotated[
        str | None, typer.Option(metavar="KIND", help="static (CPU) or transformer (GPU); default: readrank.toml.")
    ] = None,
    promote: Annotated[
        bool | None, typer.Option(help="Let the new bundle serve; default: yes, but for one --without-text.")
    ] = None,
    without_text: Annotated[
        bool,
        typer.Option("--without-text", help="Behaviour alone: read nothing of what items say."),
    ] = False,
    encoders: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Take encoders tuned elsewhere: `python -m encoders.train --pair`."),
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tune the encoder, train the ranker and write a new bundle under bundles/."""
    from encoders.settings import with_settings
    from ingest.publish import publishing
    from ingest.retention import RetentionConfig
    from ingest.spoken import retention_lines
    from ranker import bundle
    from ranker.idle_rules import idle_rules
    from ranker.spoken import training_lines
    from ranker.train import train as train_bundle
    from ranker.train_config import TrainConfig

    space = _workspace(whole=True)
    promote = not without_text if promote is None else promote
    config, retention = TrainConfig.of(space), space.section("retention", RetentionConfig)
    if encoder:
        config = replace(config, encoder=with_settings(config.encoder, [f"kind={encoder}"]))
    if encoders and (encoder or without_text):
        raise typer.BadParameter(
            "wanted alone, got --encoder or --without-text beside it; leave them away", param_hint="--encoders"
        )
    with publishing(space, _progress_bars):
        with _progress_bars() as progress:
            trained = train_bundle(
                space,
                config,
                until=typed_moment("--until", until),
                without_text=without_text,
                encoders=encoders,
                progress=progress,
            )
            live, retained = bundle.settle(space, trained.folder.name, retention, serve=promote, progress=progress)
        idle = list(idle_rules(trained.folder, config.rules))
        _print_result(
            {
                "bundle": trained.folder.name,
                "live": live,
                "idle_rules": idle,
                "measured": trained.measured,
                "tuned": trained.tuned and asdict(trained.tuned),
                "retention": asdict(retained),
            },
            "\n".join(
                [
                    *idle,
                    *training_lines(trained, live),
                    *retention_lines(retained),
                ]
            ),
        )


@app.command()
def tune(
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="Trials in all; what an earlier run has done counts. Default: readrank.toml."),
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Use nothing from this moment on (UTC).")] = None,
    timeout: Annotated[
        float | None,
        typer.Option(min=0, metavar="SECONDS", help="Begin no trial after this time, but for the first of a blend."),
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search the settings of the blend that suit this log, for readrank train to use.

    Encoder, sources and examples are made once and kept in tuning/, trials in tuning.sqlite: killed or out of time, the
    same command goes on. A later window that no trial has seen compares the best with the defaults; only when it is
    shown to be better are its settings left in tuned.toml. What readrank.toml sets in its section blend is kept.
    """
    from ingest.publish import publishing
    from ranker.spoken import tuning_lines
    from ranker.train_config import TrainConfig
    from ranker.tune import TuneConfig
    from ranker.tune import tune as tune_blend

    space = _workspace(whole=True)
    search = space.section("tune", TuneConfig)
    if trials is not None:
        search = replace(search, trials=trials)
    with publishing(space, _progress_bars), _progress_bars() as progress:
        tuning = tune_blend(
            space,
            TrainConfig.of(space),
            search,
            until=typed_moment("--until", until),
            timeout=timeout,
            progress=progress,
        )
    _print_result(asdict(tuning), "\n".join(tuning_lines(tuning)))


@app.command()
def refresh(
    version: Annotated[
        str | None, typer.Option(metavar="VERSION", help="The bundle to refresh; default: the one that serves.")
    ] = None,
    promote: Annotated[bool, typer.Option(help="Let the refreshed bundle serve.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring a bundle up to date without training: items, their texts and availability, and what users have done.

    Only new and changed texts are encoded, by the bundle's own encoder. Its models stay as they are until the next
    training. Writes a new bundle, or none when nothing has changed.
    """
    from ingest.publish import publishing
    from ingest.retention import RetentionConfig
    from ingest.spoken import retention_lines
    from ranker import bundle
    from ranker.idle_rules import idle_rules
    from ranker.refresh import refresh as refresh_bundle
    from ranker.rules import RulesConfig
    from ranker.spoken import refresh_lines

    space = _workspace()
    retention = space.section("retention", RetentionConfig)
    with publishing(space, _progress_bars):
        with _progress_bars() as progress:
            folder, changes = refresh_bundle(space, version=version, progress=progress)
            live, retained = bundle.settle(space, folder.name, retention, serve=promote, progress=progress)
        idle = list(idle_rules(folder, space.section("rules", RulesConfig)))
        _print_result(
            {
                "bundle": folder.name,
                "written": bool(changes),
                "live": live,
                "idle_rules": idle,
                "changes": asdict(changes),
                "retention": asdict(retained),
            },
            "\n".join(
                [
                    *idle,
                    *refresh_lines(folder, changes, live),
                    *retention_lines(retained),
                ]
            ),
        )


@app.command()
def recommend(
    queries: Annotated[Path, typer.Option(metavar="FILE", help="query_id (each once), user_id and, if wanted, as_of.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where to write query_id, item_id, rank, score.")],
    k: Annotated[int, typer.Option("-k", min=1, help="Items for each query.")] = 20,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Recommend for a file of queries, each with the user's history strictly before its as_of.

    The model is frozen at its cutoff, the history is live: what the store holds until as_of counts. A query without
    as_of is asked at the end of the bundle's history. Files are Parquet, CSV or JSON lines, as their names say; other
    columns are not read, and told.
    """
    from ranker.batch import recommend_file

    with _progress_bars() as progress:
        answered = recommend_file(_workspace(), queries, out, k, progress=progress)
    _tell_not_read(answered.columns_not_read)
    _print_result(
        {
            "queries": answered.questions,
            "rows": answered.rows,
            "out": str(out),
            "columns_not_read": answered.columns_not_read,
        },
        f"wrote {answered.rows:,} rows for {answered.questions:,} queries to {out}",
    )


@app.command()
def rank(
    requests: Annotated[Path, typer.Option(metavar="FILE", help="request_id, user_id, item_id, occurred_at.")],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="Where to write request_id, user_id, item_id, score: a row for each.")
    ],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score the items of given requests, each with the user's history strictly before its occurred_at."""
    from ranker.batch import rank_file

    with _progress_bars() as progress:
        answered = rank_file(_workspace(), requests, out, progress=progress)
    _tell_not_read(answered.columns_not_read)
    _print_result(
        {"rows": answered.rows, "out": str(out), "columns_not_read": answered.columns_not_read},
        f"wrote {answered.rows:,} scores to {out}",
    )


@app.command()
def evaluate(
    cutoff: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Train before it, test from it on (UTC); default: after nine tenths."),
    ] = None,
    protocol: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="cutoff or replay; may be given twice; default: both.")
    ] = None,
    k: Annotated[int | None, typer.Option("-k", min=1, help="Places of a list that count.")] = None,
    bundle: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Judge this bundle at its own cutoff instead of training one.")
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare with baselines on what came after a cutoff; into the store and reports/.

    Trains a model on what came before the cutoff, for this comparison alone. The protocol cutoff asks once a user, at
    the cutoff, what the user will take from then on; replay asks at each later moment at which a user took something,
    or at which the answer was given that led to it, what that is, with the history up to that moment. Where the rules
    allow no repeats, only what is new to the user counts.
    """
    from ingest.publish import publishing
    from offline_eval.evaluate import check_protocols
    from offline_eval.evaluate import evaluate as run_evaluation
    from offline_eval.report import as_json as report_values
    from offline_eval.spoken import evaluation_lines
    from ranker.bundle import named_folder

    space = _workspace(whole=True)
    if bundle is not None and cutoff:
        raise typer.BadParameter("a bundle is judged at its own cutoff: leave it away", param_hint="--cutoff")
    judged = None if bundle is None else named_folder(space.bundles_path, bundle)
    with publishing(space, _progress_bars):
        with _progress_bars() as progress:
            evaluation = run_evaluation(
                space,
                cutoff=typed_moment("--cutoff", cutoff),
                protocols=check_protocols(protocol),
                k=k,
                bundle=judged,
                progress=progress,
            )
        width = None if sys.stdout.isatty() else 150
        places = {"page": str(evaluation.page), "data": str(evaluation.data), "run_ids": evaluation.run_ids}
        _print_result(
            {**report_values(evaluation.facts, evaluation.metrics), **places},
            "\n".join(evaluation_lines(evaluation, width)) if not _options.as_json else "",
        )


@app.command()
def nightly(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Train, compare with the model that serves, and promote or refuse: exit status 3 when it is refused.

    Both models are asked about the end of the log, from which neither has learned. The new one serves when it is shown
    to be no worse than the margin of readrank.toml allows, over all questions and in each segment that is large enough;
    it then knows all that users have done by now. With too few questions to tell, the night waits for more.
    """
    from ingest.publish import publishing
    from offline_eval.nightly import nightly as run_night
    from offline_eval.spoken import night_lines, night_values

    space = _workspace(whole=True)
    with publishing(space, _progress_bars):
        with _progress_bars() as progress:
            night = run_night(space, progress=progress)
        width = None if sys.stdout.isatty() else 150
        _print_result(night_values(night), "\n".join(night_lines(night, width)) if not _options.as_json else "")
    if night.decision == "refused":
        raise typer.Exit(REFUSED)


@app.command()
def promote(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="A folder's name under bundles/.")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a bundle serve, at once; also the way back to an earlier one."""
    from ranker import bundle

    space = _workspace()
    bundle.promote(space.bundles_path, version)
    _print_result({"live": version}, f"{version} serves now")


@app.command()
def rollback(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Let the bundle serve that served before, at once; twice returns to where one was."""
    from ranker import bundle

    version, replaced = bundle.rollback(_workspace().bundles_path)
    _print_result({"live": version, "replaced": replaced}, f"{version} serves now, instead of {replaced}")


@app.command()
def forget(
    user: Annotated[str, typer.Argument(metavar="USER", help="The user's id, as it stands in the logs.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Delete nothing, only search everything; exit 1 when something is found.")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a person: from the store, from online.sqlite, from the published copies; then search what is left.

    A service may run meanwhile. A receipt without the id stays in the table erasures. Bundles trained with the person
    stay until others have replaced them; the answer names them and the day. Killed half-way, run it again.
    """
    from ingest.erase import forget as forget_person
    from ingest.erase import person_of
    from ingest.moments import utc_now
    from ingest.retention import RetentionConfig
    from ingest.spoken import erasure_lines, search_lines
    from ingest.verify_erasure import search

    space = _workspace()
    config = space.section("retention", RetentionConfig)
    person = person_of(space, user)
    with _progress_bars() as progress:
        forgotten = None if verify else forget_person(space, person, config, progress=progress)
        searched = search(space, person, config, utc_now(), progress=progress)
    if forgotten is None:
        _print_result({"clean": searched.clean, **asdict(searched)}, "\n".join(search_lines(searched)))
        if not searched.clean:
            raise typer.Exit(FAILED)
        return
    _print_result(
        {**asdict(forgotten), "remains": {"clean": searched.clean, **asdict(searched)}},
        "\n".join([*erasure_lines(forgotten), *search_lines(searched)]),
    )


@app.command()
def export_training(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write; made if missing.")],
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Use nothing from this moment on (UTC).")] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write items and sequences as Parquet, for tuning the encoder on a machine that has no store."""
    from encoders.export import export_training as export
    from encoders.text import TextConfig
    from ingest.store import END_OF_TIME, Store

    space = _workspace()
    space.check_elsewhere(folder)
    before = typed_moment("--until", until) or END_OF_TIME
    with Store.open(space.store_path, read_only=True) as store:
        written = export(store, folder, before=before, text=space.section("text", TextConfig))
    _print_result(
        {"folder": str(folder), **asdict(written)},
        f"wrote {written.items:,} items and {written.events:,} events of {written.users:,} users to {folder}\n"
        f"next, where a GPU is: python -m encoders.train {folder} DIR --kind transformer --pair\n"
        "then, here: readrank train --encoders DIR",
    )


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8080,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes; one for each core is a good number.")] = 1,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve recommendations, rankings and events over HTTP, and a playground page at /.

    Needs a bundle that serves: run readrank train first. A later one is picked up while running. Ends with SIGTERM or
    Ctrl-C after the requests under way. READRANK_... variables tune it: see docs/api.md.
    """
    from api.serve import serve as serve_workspace

    def announce(url: str) -> None:
        _print_result(
            {"url": url, "workers": workers},
            f"serving at {url} with {workers} worker{'s' if workers > 1 else ''}; stop with Ctrl-C",
        )
        sys.stdout.flush()

    serve_workspace(_workspace().root, host, port, workers, announce=announce)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the demo shop lies; made anew.")] = Path(
        "demo-shop"
    ),
    events: Annotated[int, typer.Option(min=1000, help="About how many interactions to simulate.")] = 20_000,
    as_json: JsonOption = False,
) -> None:
    """Walk the whole way once: simulate a shop, ingest, train, evaluate, serve, ask, stop."""
    from api.spoken import answer_lines
    from api.try_out import answers
    from offline_eval.demo import ASK, SIMULATE, commands, write_demo_log

    shop = folder / "workspace"
    _say(SIMULATE.format(n_events=events))
    with _progress_bars() as progress:
        log = write_demo_log(folder, events, progress=progress)
    told = {}
    for title, arguments in commands(shop, log.files):
        _say(title)
        told[arguments[0]] = _step(arguments)
    _say(ASK)
    told["answers"] = answers(shop)
    for line in answer_lines(told["answers"]):
        _say(line)
    _print_result(
        told,
        f"\nThe shop stays in {shop}: look around with `readrank serve --workspace {shop}` and open its page.",
    )


def main() -> None:
    """Run the command line and exit: 0 done, 2 the user's mistake, 3 a new model refused, 1 anything else."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status; mistakes become one line on stderr, never a traceback."""
    _options.workspace, _options.as_json = Path("."), False
    try:
        ended = app(list(arguments), prog_name="readrank", standalone_mode=False)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else FAILED
    except typer.TyperException as mistake:
        return _complain(_usage(mistake), mistake.exit_code)
    except ReadrankError as mistake:
        return _complain(str(mistake), MISTAKE)
    except Exception as error:
        if "--debug" in arguments:
            traceback.print_exc()
        if told := system_refusal(error):
            return _complain(told, MISTAKE)
        hint = "" if "--debug" in arguments else " (readrank --debug ... shows where)"
        return _complain(f"unexpected {type(error).__name__}: {error}{hint}", FAILED)
    return ended if isinstance(ended, int) else DONE


def _workspace(*, whole: bool = False) -> "Workspace":
    """Open the workspace; `whole` reads all sections, so that no mistake shows up after hours of training."""
    from ingest.workspace import Workspace

    workspace = Workspace.open(_options.workspace)
    workspace.check_sections(set(SECTIONS))
    for name in SECTIONS if whole else ():
        workspace.section(name, _config_class(name))
    return workspace


def _config_class(section: str) -> type:
    module, _, name = SECTIONS[section].partition(":")
    found: type = getattr(importlib.import_module(module), name)
    return found


def _print_result(machines: Any, people: str) -> None:
    print(json.dumps(_for_json(machines), ensure_ascii=False, default=str) if _options.as_json else people)


def _for_json(value: Any) -> Any:
    """Return null for numbers that JSON has no word for, such as the bounds of an interval over one user."""
    if isinstance(value, dict):
        return {name: _for_json(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_for_json(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _tell_not_read(columns: list[str]) -> None:
    if columns:
        print(f"readrank: columns not read: {', '.join(columns)}", file=sys.stderr)


def _usage(mistake: typer.TyperException) -> str:
    """Say what was wrong with a command line, and which help tells what may stand there."""
    context = getattr(mistake, "ctx", None)
    told = mistake.format_message().rstrip(".") or "wanted a command, got none"
    return f"{told}; see `{context.command_path if context else 'readrank'} --help`"


def _complain(message: str, status: int) -> int:
    print("readrank: " + " ".join(message.split()), file=sys.stderr)
    return status


def _step(arguments: Sequence[str]) -> Any:
    """Run a command as part of another; gives its result where that is for machines, else lets it print."""
    if not _options.as_json:
        said, status = "null", run(arguments)
    else:
        with redirect_stdout(io.StringIO()) as caught:
            status = run(["--json", *arguments])
        said = caught.getvalue()
    if status != DONE:
        raise typer.Exit(status)
    return json.loads(said)


def _say(line: str) -> None:
    if line and not _options.as_json:
        print(line, flush=True)


@contextmanager
def _progress_bars() -> "Iterator[Progress]":
    """Show a bar for each step on a terminal; stay silent where nobody watches."""
    from ingest.progress import bars, silent

    if not sys.stderr.isatty():
        yield silent
        return
    from rich.progress import TaskProgressColumn

    with bars(sys.stderr, TaskProgressColumn()) as progress:
        yield progress


if __name__ == "__main__":
    main()
