-- First answers for analysts. Made anew at every opening for writing.

CREATE OR REPLACE VIEW item_daily AS
SELECT
    item_id,
    CAST(occurred_at AS DATE) AS day,
    kind,
    count(*) AS interactions,
    count(DISTINCT user_id) AS users,
    sum(weight) AS weight
FROM interactions
GROUP BY item_id, day, kind;
COMMENT ON VIEW item_daily IS 'What happened to each item on each day, by kind.';
COMMENT ON COLUMN item_daily.item_id IS 'The item.';
COMMENT ON COLUMN item_daily.day IS 'Day in UTC.';
COMMENT ON COLUMN item_daily.kind IS 'Kind of interaction.';
COMMENT ON COLUMN item_daily.interactions IS 'How many interactions.';
COMMENT ON COLUMN item_daily.users IS 'By how many users.';
COMMENT ON COLUMN item_daily.weight IS 'Sum of their weights.';

CREATE OR REPLACE VIEW user_daily AS
SELECT
    user_id,
    CAST(occurred_at AS DATE) AS day,
    kind,
    count(*) AS interactions,
    count(DISTINCT item_id) AS items,
    sum(weight) AS weight
FROM interactions
GROUP BY user_id, day, kind;
COMMENT ON VIEW user_daily IS 'What each user did on each day, by kind.';
COMMENT ON COLUMN user_daily.user_id IS 'The user.';
COMMENT ON COLUMN user_daily.day IS 'Day in UTC.';
COMMENT ON COLUMN user_daily.kind IS 'Kind of interaction.';
COMMENT ON COLUMN user_daily.interactions IS 'How many interactions.';
COMMENT ON COLUMN user_daily.items IS 'With how many items.';
COMMENT ON COLUMN user_daily.weight IS 'Sum of their weights.';

CREATE OR REPLACE VIEW decisions AS
WITH outcomes AS (
    SELECT
        request_id,
        item_id,
        bool_or(weight > 0) AS positive,
        sum(weight) AS weight,
        arg_max(kind, weight) AS strongest_kind,
        min(occurred_at) AS first_at
    FROM interactions
    WHERE request_id IS NOT NULL
    GROUP BY request_id, item_id
)
SELECT
    shown.request_id,
    shown.user_id,
    shown.item_id,
    shown.position,
    shown.score,
    shown.propensity,
    shown.sources,
    shown.features,
    shown.reasons,
    shown.placed_by,
    shown.occurred_at,
    asked.endpoint,
    asked.bundle_version,
    asked.variant,
    asked.degraded,
    coalesce(shown.clicked, outcome.positive, FALSE) AS clicked,
    coalesce(outcome.weight, 0) AS outcome_weight,
    outcome.strongest_kind AS outcome_kind,
    outcome.first_at AS outcome_at
FROM impressions AS shown
LEFT JOIN requests AS asked
    ON asked.request_id = shown.request_id
LEFT JOIN outcomes AS outcome
    ON outcome.request_id = shown.request_id
    AND outcome.item_id = shown.item_id;
COMMENT ON VIEW decisions IS 'Every item shown, with what the model knew and what followed.';
COMMENT ON COLUMN decisions.request_id IS 'The answer in which it was shown.';
COMMENT ON COLUMN decisions.user_id IS 'To whom.';
COMMENT ON COLUMN decisions.item_id IS 'Which item.';
COMMENT ON COLUMN decisions.position IS 'Place in the list, 1 first.';
COMMENT ON COLUMN decisions.score IS 'Score of the ranker.';
COMMENT ON COLUMN decisions.propensity IS 'Probability with which it was shown there.';
COMMENT ON COLUMN decisions.sources IS 'Candidate sources that proposed it.';
COMMENT ON COLUMN decisions.features IS 'Values that the ranker saw, in the order of bundles.feature_names.';
COMMENT ON COLUMN decisions.reasons IS 'The explanation given: an array of {family, weight, because, features}; NULL when none was.';
COMMENT ON COLUMN decisions.placed_by IS 'What put it at its place: score, list, diversity, new, explore, cap or newest (docs/api.md); NULL when not told.';
COMMENT ON COLUMN decisions.occurred_at IS 'When it was shown, naive UTC.';
COMMENT ON COLUMN decisions.endpoint IS 'What was asked; NULL for impressions from a log.';
COMMENT ON COLUMN decisions.bundle_version IS 'The model that answered; NULL for impressions from a log.';
COMMENT ON COLUMN decisions.variant IS 'Arm of an experiment.';
COMMENT ON COLUMN decisions.degraded IS 'Whether a part of the model could not be used.';
COMMENT ON COLUMN decisions.clicked IS 'The log''s own word, else whether an interaction of positive weight names the request.';
COMMENT ON COLUMN decisions.outcome_weight IS 'Sum of weights of what followed, 0 when nothing did.';
COMMENT ON COLUMN decisions.outcome_kind IS 'Strongest kind of what followed.';
COMMENT ON COLUMN decisions.outcome_at IS 'When the first outcome came, naive UTC.';

CREATE OR REPLACE VIEW click_through_by_position AS
SELECT
    position,
    count(*) AS impressions,
    count(*) FILTER (WHERE clicked) AS clicks,
    avg(CAST(clicked AS INTEGER)) AS click_rate
FROM decisions
GROUP BY position
ORDER BY position;
COMMENT ON VIEW click_through_by_position IS 'How often items are clicked at each place of the list.';
COMMENT ON COLUMN click_through_by_position.position IS 'Place in the list, 1 first; NULL when not told.';
COMMENT ON COLUMN click_through_by_position.impressions IS 'How often an item was shown there.';
COMMENT ON COLUMN click_through_by_position.clicks IS 'How often it was clicked.';
COMMENT ON COLUMN click_through_by_position.click_rate IS 'clicks / impressions.';

CREATE OR REPLACE VIEW cold_items AS
SELECT
    item.item_id,
    item.title,
    item.categories,
    item.published_at,
    item.available,
    count(shown.item_id) AS impressions
FROM items AS item
ANTI JOIN interactions AS event
    ON event.item_id = item.item_id
LEFT JOIN impressions AS shown
    ON shown.item_id = item.item_id
GROUP BY ALL;
COMMENT ON VIEW cold_items IS 'Items of the catalogue that nobody has interacted with.';
COMMENT ON COLUMN cold_items.item_id IS 'The item.';
COMMENT ON COLUMN cold_items.title IS 'Its title.';
COMMENT ON COLUMN cold_items.categories IS 'Its categories.';
COMMENT ON COLUMN cold_items.published_at IS 'When it appeared, naive UTC.';
COMMENT ON COLUMN cold_items.available IS 'Whether it may be recommended.';
COMMENT ON COLUMN cold_items.impressions IS 'How often it was shown all the same.';

CREATE OR REPLACE VIEW item_changes AS
WITH pairs AS (
    SELECT
        item_id,
        valid_from,
        load_id,
        lag(load_id) OVER each_item IS NOT NULL AS has_earlier,
        list_filter(
            [
                CASE WHEN title IS DISTINCT FROM lag(title) OVER each_item THEN 'title' END,
                CASE WHEN description IS DISTINCT FROM lag(description) OVER each_item THEN 'description' END,
                CASE WHEN categories IS DISTINCT FROM lag(categories) OVER each_item THEN 'categories' END,
                CASE WHEN attributes IS DISTINCT FROM lag(attributes) OVER each_item THEN 'attributes' END,
                CASE WHEN published_at IS DISTINCT FROM lag(published_at) OVER each_item THEN 'published_at' END,
                CASE WHEN available IS DISTINCT FROM lag(available) OVER each_item THEN 'available' END
            ],
            lambda name: name IS NOT NULL
        ) AS changed
    FROM item_versions
    WINDOW each_item AS (PARTITION BY item_id ORDER BY valid_from)
)
SELECT
    item_id,
    valid_from AS changed_at,
    changed,
    load_id
FROM pairs
WHERE has_earlier;
COMMENT ON VIEW item_changes IS 'What changed in the catalogue, and when: one row for each version of an item after its earliest.';
COMMENT ON COLUMN item_changes.item_id IS 'The item.';
COMMENT ON COLUMN item_changes.changed_at IS 'When, as the catalogue dates it, else when a load told it; naive UTC.';
COMMENT ON COLUMN item_changes.changed IS 'Names of the columns of items that changed then.';
COMMENT ON COLUMN item_changes.load_id IS 'The load that told it: loads.load_id.';

CREATE OR REPLACE VIEW load_quality AS
SELECT
    load.load_id,
    load.path,
    load.table_name,
    load.finished_at,
    load.rows_read,
    load.rows_loaded,
    load.rows_duplicate,
    load.rows_rejected,
    CASE WHEN load.rows_read > 0 THEN load.rows_rejected / load.rows_read END AS rejected_share,
    reasons.counts AS rejected_by_reason,
    raised.messages AS findings
FROM loads AS load
LEFT JOIN (
    SELECT
        load_id,
        histogram(reason_code) AS counts
    FROM rejected_rows
    GROUP BY load_id
) AS reasons
    ON reasons.load_id = load.load_id
LEFT JOIN (
    SELECT
        load_id,
        list(message ORDER BY check_name) AS messages
    FROM quality_findings
    WHERE raised
    GROUP BY load_id
) AS raised
    ON raised.load_id = load.load_id
ORDER BY load.load_id;
COMMENT ON VIEW load_quality IS 'How good each file was.';
COMMENT ON COLUMN load_quality.load_id IS 'The load.';
COMMENT ON COLUMN load_quality.path IS 'File.';
COMMENT ON COLUMN load_quality.table_name IS 'Where its rows went.';
COMMENT ON COLUMN load_quality.finished_at IS 'When it was written, naive UTC.';
COMMENT ON COLUMN load_quality.rows_read IS 'Rows in the file.';
COMMENT ON COLUMN load_quality.rows_loaded IS 'New rows.';
COMMENT ON COLUMN load_quality.rows_duplicate IS 'Rows known already.';
COMMENT ON COLUMN load_quality.rows_rejected IS 'Rows not loaded.';
COMMENT ON COLUMN load_quality.rejected_share IS 'rows_rejected / rows_read; NULL for an empty file.';
COMMENT ON COLUMN load_quality.rejected_by_reason IS 'How many rows were rejected for each reason code.';
COMMENT ON COLUMN load_quality.findings IS 'What was unlike earlier loads, a sentence each; NULL when nothing was. All checks are in quality_findings.';
