"""The reader of each ``--format``."""

from __future__ import annotations

from recbole_tinynews.convert.readers.adressa import AdressaReader
from recbole_tinynews.convert.readers.ebnerd import EbnerdReader
from recbole_tinynews.convert.readers.mind import MindReader
from recbole_tinynews.convert.readers.pens import PensReader
from recbole_tinynews.convert.readers.reader import Reader
from recbole_tinynews.convert.readers.table import TableReader
from recbole_tinynews.convert.readers.xmind import XmindReader

READERS: dict[str, type[Reader]] = {
    "mind": MindReader,
    "ebnerd": EbnerdReader,
    "adressa": AdressaReader,
    "xmind": XmindReader,
    "pens": PensReader,
    "table": TableReader,
}
