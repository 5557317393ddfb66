"""The reader of each ``--format``."""

from __future__ import annotations

from recbole_tinynews.convert.readers.ebnerd import EbnerdReader
from recbole_tinynews.convert.readers.mind import MindReader
from recbole_tinynews.convert.readers.reader import Reader
from recbole_tinynews.convert.readers.tables import TableReader

TABLE = "table"
READERS: dict[str, type[Reader]] = {
    "mind": MindReader,
    "ebnerd": EbnerdReader,
    TABLE: TableReader,
}
