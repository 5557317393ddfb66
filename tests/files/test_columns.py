from __future__ import annotations

from recbole_tinynews.convert.atomic import Impression
from recbole_tinynews.data.atomic_files import ItemColumns
from recbole_tinynews.files.columns import (
    BODY,
    CONTEXT,
    FLAT_INTER,
    FLAT_ITEM,
    INTER,
    ITEM,
    PUBLISHED,
    SOURCE,
    header,
)


def test_headers_are_those_that_data_sets_out_there_have() -> None:
    """With another header, no data set that was converted before could be read."""
    assert header((*ITEM, BODY, PUBLISHED)) == (
        "item_id:token\tcategory:token\tsubcategory:token\ttitle:token_seq\tabstract:token_seq\t"
        "body:token_seq\tpublished:float"
    )
    assert header(INTER) == (
        "impression_id:token\tuser_id:token\ttimestamp:float\thistory:token_seq\t"
        "candidates:token_seq\tlabels:float_seq"
    )
    assert header(CONTEXT) == (
        "context_article:token\tdevice:token\tsession:token\tsubscriber:float\t"
        "read_time:float\tscroll_percentage:float"
    )
    assert header(FLAT_ITEM) == "item_id:token\tcategory:token\tsubcategory:token"
    assert header(FLAT_INTER) == "user_id:token\titem_id:token\tlabel:float\ttimestamp:float"


def test_records_name_their_fields_as_the_files_name_their_columns() -> None:
    """A record in another order would be written, or read, into the wrong columns."""
    assert Impression._fields == (*INTER, "context")
    assert ItemColumns._fields == (*ITEM, BODY, PUBLISHED, SOURCE)
