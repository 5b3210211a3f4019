-- The store: raw events, served decisions, outcomes, evaluations. All timestamps are naive UTC.
-- Run at every opening for writing; each statement may run again without harm.

CREATE TABLE IF NOT EXISTS items (
    item_id VARCHAR NOT NULL,
    title VARCHAR,
    description VARCHAR,
    categories VARCHAR[],
    attributes JSON,
    published_at TIMESTAMP,
    available BOOLEAN NOT NULL DEFAULT TRUE,
    updated_at TIMESTAMP NOT NULL
);
COMMENT ON TABLE items IS 'The catalogue as last told: one row an item.';
COMMENT ON COLUMN items.item_id IS 'Id as in the catalogue file; one row each.';
COMMENT ON COLUMN items.title IS 'Title, NULL when the catalogue has none.';
COMMENT ON COLUMN items.description IS 'Description, NULL when the catalogue has none.';
COMMENT ON COLUMN items.categories IS 'Category names in the order of the catalogue.';
COMMENT ON COLUMN items.attributes IS 'Every other column of the catalogue file, as one JSON object.';
COMMENT ON COLUMN items.published_at IS 'When the item appeared, naive UTC; NULL when not told.';
COMMENT ON COLUMN items.available IS 'Whether the item may be recommended.';
COMMENT ON COLUMN items.updated_at IS 'When this row last changed, as the catalogue dates it, else as a load told it; naive UTC.';

CREATE TABLE IF NOT EXISTS item_versions (
    item_id VARCHAR NOT NULL,
    valid_from TIMESTAMP NOT NULL,
    updated_at TIMESTAMP NOT NULL,
    title VARCHAR,
    description VARCHAR,
    categories VARCHAR[],
    attributes JSON,
    published_at TIMESTAMP,
    available BOOLEAN NOT NULL,
    told_again TIMESTAMP[],
    load_id VARCHAR NOT NULL
);
COMMENT ON TABLE item_versions IS 'The catalogue as it was at any moment: one row for each change of an item.';
COMMENT ON COLUMN item_versions.item_id IS 'The item.';
COMMENT ON COLUMN item_versions.valid_from IS 'From when on this version held, naive UTC; 1970-01-01 for the earliest one known.';
COMMENT ON COLUMN item_versions.updated_at IS 'When the catalogue dates it, else when a load told it, naive UTC; also that of the earliest.';
COMMENT ON COLUMN item_versions.title IS 'Title then.';
COMMENT ON COLUMN item_versions.description IS 'Description then.';
COMMENT ON COLUMN item_versions.categories IS 'Categories then.';
COMMENT ON COLUMN item_versions.attributes IS 'Other columns then, as one JSON object.';
COMMENT ON COLUMN item_versions.published_at IS 'When the item appeared, as told then.';
COMMENT ON COLUMN item_versions.available IS 'Whether it could be recommended then.';
COMMENT ON COLUMN item_versions.told_again IS 'Later dates under which the catalogue told the same once more; NULL when it did not.';
COMMENT ON COLUMN item_versions.load_id IS 'The load that told it: loads.load_id.';

-- Compressing event ids would take a tenth of a load's time.
CREATE TABLE IF NOT EXISTS interactions (
    event_id VARCHAR USING COMPRESSION uncompressed NOT NULL,
    user_id VARCHAR NOT NULL,
    item_id VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    weight DOUBLE NOT NULL,
    occurred_at TIMESTAMP NOT NULL,
    request_id VARCHAR,
    session_id VARCHAR,
    context JSON,
    load_id VARCHAR NOT NULL,
    ingested_at TIMESTAMP NOT NULL,
    arrival BIGINT NOT NULL,
    event_key UBIGINT NOT NULL
);
COMMENT ON TABLE interactions IS 'What users did with items: one row an event.';
COMMENT ON COLUMN interactions.event_id IS 'Id from the log, else the MD5 of the row; no two rows share one.';
COMMENT ON COLUMN interactions.user_id IS 'Who did it.';
COMMENT ON COLUMN interactions.item_id IS 'With which item; it need not be in items.';
COMMENT ON COLUMN interactions.kind IS 'What was done (view, click, purchase ...), in lower case.';
COMMENT ON COLUMN interactions.weight IS 'How much it says: the log''s own weight, else the kind''s; negative is a dislike.';
COMMENT ON COLUMN interactions.occurred_at IS 'When it happened, naive UTC.';
COMMENT ON COLUMN interactions.request_id IS 'The request whose answer led to it, if told.';
COMMENT ON COLUMN interactions.session_id IS 'The visit it belongs to, if told.';
COMMENT ON COLUMN interactions.context IS 'Every other column of the log, as one JSON object.';
COMMENT ON COLUMN interactions.load_id IS 'The load that brought it: loads.load_id.';
COMMENT ON COLUMN interactions.ingested_at IS 'When it was written here, naive UTC.';
COMMENT ON COLUMN interactions.arrival IS 'Rises in the order of arrival; decides between equal times.';
COMMENT ON COLUMN interactions.event_key IS 'DuckDB''s hash of event_id: finds duplicates fast; equal keys need not be equal ids.';

CREATE TABLE IF NOT EXISTS requests (
    request_id VARCHAR NOT NULL,
    user_id VARCHAR NOT NULL,
    occurred_at TIMESTAMP NOT NULL,
    endpoint VARCHAR,
    k INTEGER,
    bundle_version VARCHAR,
    variant VARCHAR,
    degraded BOOLEAN,
    latency_ms DOUBLE,
    comparison JSON,
    asked JSON
);
COMMENT ON TABLE requests IS 'Every answer the service gave.';
COMMENT ON COLUMN requests.request_id IS 'Id that the answer carried.';
COMMENT ON COLUMN requests.user_id IS 'Who was answered.';
COMMENT ON COLUMN requests.occurred_at IS 'When it was asked, naive UTC.';
COMMENT ON COLUMN requests.endpoint IS 'What was asked: recommendations or rankings.';
COMMENT ON COLUMN requests.k IS 'How many items were asked for.';
COMMENT ON COLUMN requests.bundle_version IS 'The model that answered: bundles.version.';
COMMENT ON COLUMN requests.variant IS 'Arm of an experiment, if one runs.';
COMMENT ON COLUMN requests.degraded IS 'Whether a part of the model could not be used.';
COMMENT ON COLUMN requests.latency_ms IS 'Time to answer in milliseconds.';
COMMENT ON COLUMN requests.comparison IS 'Why one item scored higher than another, as told: {first, second, difference, families}; NULL when nothing was.';
COMMENT ON COLUMN requests.asked IS 'What narrowed the answer beside user and k, ids and categories sorted and each once: any of session, exclude, categories, min_price, max_price, diversity; NULL when nothing did.';

CREATE TABLE IF NOT EXISTS impressions (
    request_id VARCHAR NOT NULL,
    user_id VARCHAR NOT NULL,
    item_id VARCHAR NOT NULL,
    position INTEGER,
    score DOUBLE,
    propensity DOUBLE,
    sources VARCHAR[],
    features FLOAT[],
    occurred_at TIMESTAMP NOT NULL,
    clicked BOOLEAN,
    load_id VARCHAR,
    reasons JSON,
    placed_by VARCHAR
);
COMMENT ON TABLE impressions IS 'Items shown, whether or not anything followed; one row an item of a request.';
COMMENT ON COLUMN impressions.request_id IS 'The answer in which it was shown.';
COMMENT ON COLUMN impressions.user_id IS 'To whom.';
COMMENT ON COLUMN impressions.item_id IS 'Which item.';
COMMENT ON COLUMN impressions.position IS 'Place in the list, 1 first; NULL when not told.';
COMMENT ON COLUMN impressions.score IS 'Score of the ranker, higher is better within one request.';
COMMENT ON COLUMN impressions.propensity IS 'Probability with which it was shown there, if logged; 1 where nothing is drawn.';
COMMENT ON COLUMN impressions.sources IS 'Candidate sources that proposed it.';
COMMENT ON COLUMN impressions.features IS 'Values that the ranker saw, in the order of bundles.feature_names.';
COMMENT ON COLUMN impressions.occurred_at IS 'When it was shown, naive UTC.';
COMMENT ON COLUMN impressions.clicked IS 'What the log says followed; NULL: look in interactions (view decisions does).';
COMMENT ON COLUMN impressions.load_id IS 'The load that brought it; NULL when it came from the service.';
COMMENT ON COLUMN impressions.reasons IS 'The explanation given: an array of {family, weight, because, features}; NULL when none was.';
COMMENT ON COLUMN impressions.placed_by IS 'What put it at its place: score, list, diversity, new, explore, cap or newest (docs/api.md); NULL when not told.';

CREATE TABLE IF NOT EXISTS rejected_rows (
    load_id VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    line BIGINT,
    reason_code VARCHAR NOT NULL,
    detail VARCHAR,
    raw VARCHAR,
    table_name VARCHAR NOT NULL,
    user_id VARCHAR,
    read_as VARCHAR,
    layout VARCHAR
);
COMMENT ON TABLE rejected_rows IS 'Rows that were not loaded, and why.';
COMMENT ON COLUMN rejected_rows.load_id IS 'The latest load that met it: loads.load_id.';
COMMENT ON COLUMN rejected_rows.source IS 'File it stood in.';
COMMENT ON COLUMN rejected_rows.line IS 'Line of the file, 1 first, the header included; row number for Parquet.';
COMMENT ON COLUMN rejected_rows.reason_code IS 'Why, as a code: see docs/data-formats.md.';
COMMENT ON COLUMN rejected_rows.detail IS 'Why, in words, with the value.';
COMMENT ON COLUMN rejected_rows.raw IS 'The row as it came: the line, or the columns of its file as one JSON object; our columns where read_as is NULL. NULL: not kept, under pseudonyms, since nobody knows where it names the user.';
COMMENT ON COLUMN rejected_rows.table_name IS 'Where it would have gone: items, interactions or impressions.';
COMMENT ON COLUMN rejected_rows.user_id IS 'Whose it is, as far as could be read.';
COMMENT ON COLUMN rejected_rows.read_as IS 'How its file was read: csv, jsonl, parquet or the name of a preset; NULL: by an earlier version.';
COMMENT ON COLUMN rejected_rows.layout IS 'Which names its file, or its part of a file, had for our columns, as JSON: ours -> theirs, the one that counted first; by these it is tried again. NULL: under a preset, or by an earlier version.';

CREATE TABLE IF NOT EXISTS loads (
    load_id VARCHAR NOT NULL,
    path VARCHAR NOT NULL,
    table_name VARCHAR NOT NULL,
    sha256 VARCHAR,
    rows_read BIGINT NOT NULL,
    rows_loaded BIGINT NOT NULL,
    rows_duplicate BIGINT NOT NULL,
    rows_rejected BIGINT NOT NULL,
    started_at TIMESTAMP NOT NULL,
    finished_at TIMESTAMP NOT NULL
);
COMMENT ON TABLE loads IS 'Every load of a file, of rows tried again and of what came over HTTP; rows_read = rows_loaded + rows_duplicate + rows_rejected.';
COMMENT ON COLUMN loads.load_id IS 'Id of the load; later loads sort after earlier ones.';
COMMENT ON COLUMN loads.path IS 'File, with "(rejected rows)" for those tried again, or online.sqlite for what came over HTTP.';
COMMENT ON COLUMN loads.table_name IS 'Where its rows went: items, interactions or impressions.';
COMMENT ON COLUMN loads.sha256 IS 'SHA-256 of the file; NULL for what came over HTTP or was tried again.';
COMMENT ON COLUMN loads.rows_read IS 'Rows in the file, bad ones included, the header not.';
COMMENT ON COLUMN loads.rows_loaded IS 'Rows that are new here, or for items new or changed.';
COMMENT ON COLUMN loads.rows_duplicate IS 'Rows that were here already or stood in the file twice.';
COMMENT ON COLUMN loads.rows_rejected IS 'Rows kept in rejected_rows instead; those tried again stay there under the load of their file, those of a file loaded again go over to the later load.';
COMMENT ON COLUMN loads.started_at IS 'When the load began, naive UTC.';
COMMENT ON COLUMN loads.finished_at IS 'When the load was written, naive UTC.';

CREATE TABLE IF NOT EXISTS bundles (
    version VARCHAR NOT NULL,
    cutoff TIMESTAMP NOT NULL,
    created_at TIMESTAMP NOT NULL,
    status VARCHAR NOT NULL,
    feature_names VARCHAR[]
);
COMMENT ON TABLE bundles IS 'Every model trained, or refreshed with a changed catalogue and later events.';
COMMENT ON COLUMN bundles.version IS 'Name of the folder under bundles/.';
COMMENT ON COLUMN bundles.cutoff IS 'Nothing from this moment on was used in training, naive UTC.';
COMMENT ON COLUMN bundles.created_at IS 'When it was written, naive UTC.';
COMMENT ON COLUMN bundles.status IS 'trained or refreshed (an earlier model over a newer catalogue and history) and never served; live; served until another did; retired: removed. As of the last publishing.';
COMMENT ON COLUMN bundles.feature_names IS 'Names of the values in impressions.features, in order.';

CREATE TABLE IF NOT EXISTS evaluations (
    run_id VARCHAR NOT NULL,
    bundle_version VARCHAR,
    protocol VARCHAR NOT NULL,
    cutoff TIMESTAMP NOT NULL,
    until TIMESTAMP,
    n_queries BIGINT,
    settings JSON,
    started_at TIMESTAMP NOT NULL,
    finished_at TIMESTAMP
);
COMMENT ON TABLE evaluations IS 'Every evaluation run, those of nights among them.';
COMMENT ON COLUMN evaluations.run_id IS 'Id of the run.';
COMMENT ON COLUMN evaluations.bundle_version IS 'The model judged: bundles.version.';
COMMENT ON COLUMN evaluations.protocol IS 'How was asked. cutoff asks once a user, at the cutoff, what the user will take from then on; replay asks at each later moment at which a user took something, or at which the answer was given that led to it, what that is, with the history up to that moment.';
COMMENT ON COLUMN evaluations.cutoff IS 'Moment dividing known from unknown, naive UTC.';
COMMENT ON COLUMN evaluations.until IS 'End of the test window, exclusive, naive UTC; NULL is open.';
COMMENT ON COLUMN evaluations.n_queries IS 'How many queries were asked.';
COMMENT ON COLUMN evaluations.settings IS 'Settings of the run as JSON; of a night also the decision and why, under nightly.';
COMMENT ON COLUMN evaluations.started_at IS 'When the run began, naive UTC.';
COMMENT ON COLUMN evaluations.finished_at IS 'When the run ended, naive UTC.';

CREATE TABLE IF NOT EXISTS evaluation_metrics (
    run_id VARCHAR NOT NULL,
    cutoff TIMESTAMP NOT NULL,
    segment VARCHAR NOT NULL,
    system VARCHAR NOT NULL,
    metric VARCHAR NOT NULL,
    k INTEGER,
    value DOUBLE,
    low DOUBLE,
    high DOUBLE,
    n BIGINT
);
COMMENT ON TABLE evaluation_metrics IS 'What each evaluation found: one row a segment, system, metric and k.';
COMMENT ON COLUMN evaluation_metrics.run_id IS 'The run: evaluations.run_id.';
COMMENT ON COLUMN evaluation_metrics.cutoff IS 'Moment dividing known from unknown, naive UTC.';
COMMENT ON COLUMN evaluation_metrics.segment IS 'Queries counted: all, warm users, users with one event, cold users, cold items ...';
COMMENT ON COLUMN evaluation_metrics.system IS 'Who answered: readrank (of a night the new model), live (the one that served) or the name of a baseline.';
COMMENT ON COLUMN evaluation_metrics.metric IS 'ndcg, recall, mrr, hit_rate, coverage ...';
COMMENT ON COLUMN evaluation_metrics.k IS 'How many places of the list count; NULL when the metric has none.';
COMMENT ON COLUMN evaluation_metrics.value IS 'Mean over queries; but recall of cold items is all found / all true ones, and coverage the share of the catalogue in any list.';
COMMENT ON COLUMN evaluation_metrics.low IS 'Lower end of the 95 % interval, users drawn; NULL when there is none.';
COMMENT ON COLUMN evaluation_metrics.high IS 'Upper end of the 95 % interval, users drawn; NULL when there is none.';
COMMENT ON COLUMN evaluation_metrics.n IS 'How many queries it is over.';

CREATE TABLE IF NOT EXISTS quality_findings (
    load_id VARCHAR NOT NULL,
    check_name VARCHAR NOT NULL,
    value DOUBLE,
    threshold DOUBLE,
    raised BOOLEAN NOT NULL,
    message VARCHAR NOT NULL,
    checked_at TIMESTAMP NOT NULL
);
COMMENT ON TABLE quality_findings IS 'What each load was checked for after it was merged: one row a check.';
COMMENT ON COLUMN quality_findings.load_id IS 'The load: loads.load_id.';
COMMENT ON COLUMN quality_findings.check_name IS 'volume, unknown_items, late_events, future_events, new_kinds, text_coverage.';
COMMENT ON COLUMN quality_findings.value IS 'What was measured; a share lies between 0 and 1; NULL: there was nothing to compare with.';
COMMENT ON COLUMN quality_findings.threshold IS 'The limit from the settings.';
COMMENT ON COLUMN quality_findings.raised IS 'Whether the value is beyond the limit, and people were told.';
COMMENT ON COLUMN quality_findings.message IS 'The finding in one sentence.';
COMMENT ON COLUMN quality_findings.checked_at IS 'When, naive UTC.';

CREATE TABLE IF NOT EXISTS interactions_so_far (
    next_arrival BIGINT NOT NULL,
    newest_at TIMESTAMP,
    kinds VARCHAR[] NOT NULL
);
COMMENT ON TABLE interactions_so_far IS 'What checks of the next load compare with, so that they need not scan the past: one row, or none before the first load.';
COMMENT ON COLUMN interactions_so_far.next_arrival IS 'It sums up the interactions whose arrival is lower.';
COMMENT ON COLUMN interactions_so_far.newest_at IS 'Newest occurred_at among them, naive UTC.';
COMMENT ON COLUMN interactions_so_far.kinds IS 'Kinds seen, at most 1,000.';

CREATE TABLE IF NOT EXISTS erasures (
    receipt_id VARCHAR NOT NULL,
    erased_at TIMESTAMP NOT NULL,
    rows_erased BIGINT NOT NULL,
    rows_by_place JSON,
    bundle_versions VARCHAR[],
    bundles_gone_by TIMESTAMP
);
COMMENT ON TABLE erasures IS 'Users forgotten at their wish, without naming them: one receipt each.';
COMMENT ON COLUMN erasures.receipt_id IS 'Random number of the receipt, told to the person.';
COMMENT ON COLUMN erasures.erased_at IS 'When, naive UTC.';
COMMENT ON COLUMN erasures.rows_erased IS 'Rows removed over all places.';
COMMENT ON COLUMN erasures.rows_by_place IS 'Rows removed from each table and from the outbox.';
COMMENT ON COLUMN erasures.bundle_versions IS 'Bundles trained with that person that were still there.';
COMMENT ON COLUMN erasures.bundles_gone_by IS 'When the last of them will have been removed; NULL when nothing removes the live one by itself.';
