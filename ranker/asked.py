"""When was the question asked that an event answers? When its item was shown, if an answer had shown it.

Who clicks on what an answer showed does so seconds later. A question asked at the click would know that the item had
just been shown, which no service knows when it is asked, and which tells it apart from all others.
"""

import polars as pl

from ingest import columns as c

_ANSWER = [c.REQUEST_ID, c.USER_ID, c.ITEM_ID]
_ROW = "row"


def asked_at(interactions: pl.DataFrame, impressions: pl.DataFrame | None) -> pl.Series:
    """Return the moment of the question for each interaction: when its request showed its user its item, else its own.

    Frames are those of `Store.interactions` and `Store.impressions`; request ids may be absent. An item that is shown
    after it was taken, as clocks of two machines may tell, was asked for when it was taken.
    """
    moments = interactions[c.OCCURRED_AT]
    if impressions is None or c.REQUEST_ID not in interactions.columns:
        return moments
    answers = interactions.lazy().select(*_ANSWER).with_row_index(_ROW).filter(pl.col(c.REQUEST_ID).is_not_null())
    shown = (
        answers.join(impressions.lazy().select(*_ANSWER, c.OCCURRED_AT), on=_ANSWER)
        .group_by(_ROW)
        .agg(pl.col(c.OCCURRED_AT).min())
        .collect()
    )
    earlier = pl.min_horizontal(shown[c.OCCURRED_AT], moments.gather(shown[_ROW]))
    return moments.scatter(shown[_ROW], shown.select(earlier).to_series().cast(moments.dtype))
