"""How is each column called? Python takes every name of a column from here; SQL text spells them itself."""

# Identity
USER_ID = "user_id"
ITEM_ID = "item_id"
EVENT_ID = "event_id"
REQUEST_ID = "request_id"
SESSION_ID = "session_id"
QUERY_ID = "query_id"

# Items
TITLE = "title"
DESCRIPTION = "description"
CATEGORIES = "categories"
ATTRIBUTES = "attributes"
PUBLISHED_AT = "published_at"
AVAILABLE = "available"
UPDATED_AT = "updated_at"
GONE_AFTER = "gone_after"
GONE_UNTIL = "gone_until"
TEXT = "text"

# Interactions
KIND = "kind"
WEIGHT = "weight"
GIVEN_WEIGHT = "given_weight"
OCCURRED_AT = "occurred_at"
CONTEXT = "context"

# Impressions and decisions
POSITION = "position"
CLICKED = "clicked"
CLICKED_AT = "clicked_at"
STRONGEST_WEIGHT = "strongest_weight"
PROPENSITY = "propensity"
SCORE = "score"
RANK = "rank"
SOURCES = "sources"
FEATURES = "features"
REASONS = "reasons"
PLACED_BY = "placed_by"
COMPARISON = "comparison"
ASKED = "asked"
AS_OF = "as_of"
ENDPOINT = "endpoint"
K = "k"
BUNDLE_VERSION = "bundle_version"
VARIANT = "variant"
DEGRADED = "degraded"
LATENCY_MS = "latency_ms"

# Quarantine
LINE = "line"
REASON_CODE = "reason_code"
DETAIL = "detail"
RAW = "raw"
ROW = "row"
LAYOUT = "layout"
REST = "rest"

ITEM_COLUMNS = (ITEM_ID, TITLE, DESCRIPTION, CATEGORIES, PUBLISHED_AT, AVAILABLE, UPDATED_AT)
"""What an item file can hold; its other columns become `attributes`."""

INTERACTION_COLUMNS = (USER_ID, ITEM_ID, OCCURRED_AT, KIND, WEIGHT, EVENT_ID, REQUEST_ID, SESSION_ID)
"""What an interaction file can hold; its other columns become `context`."""

IMPRESSION_COLUMNS = (REQUEST_ID, USER_ID, ITEM_ID, OCCURRED_AT, CLICKED, POSITION, PROPENSITY, SCORE)
"""What an impression file can hold; its other columns are not kept."""
