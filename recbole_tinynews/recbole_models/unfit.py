"""RecBole models that cannot run on impressions, and why (families: ``feeds``). No imports."""

from __future__ import annotations

GRAPH = "it needs a knowledge graph (.kg and .link files), which these data sets don't have"
LIBRARY = "it is trained by an external library, on one table of all rows"
_ENTITIES = "it needs vectors of the items' entities, made from a knowledge graph"
_PRETRAIN = "it needs an earlier stage of training, whose pickle current versions of torch refuse"

UNFIT: dict[str, str] = {
    "FEARec": "it reads the sequences of all rows from one table, which doesn't exist here",
    "GRU4RecKG": _ENTITIES,
    "KD_DAGFM": _PRETRAIN,
    "KSR": _ENTITIES,
    "LDiffRec": "it needs item vectors of another model (item_emb.npy)",
    "NCL": "it needs faiss on a GPU",
    "lightgbm": LIBRARY,
    "xgboost": LIBRARY,
    "RaCT": _PRETRAIN,
    "S3Rec": _PRETRAIN,
}
