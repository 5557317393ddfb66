"""The finished recommender to export."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from torch import nn

from recbole_tinynews.encoder.one_text import OneTextEncoder
from recbole_tinynews.encoder.padded import NEWS_DIM, PaddedNewsEncoder
from recbole_tinynews.encoder.plm_files import bare_plm, load_config, load_tokenizer
from recbole_tinynews.encoder.pooling import PROJECTION
from recbole_tinynews.encoder.users import UserEncoder
from recbole_tinynews.model.article_reader import longest_news_text
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.pipeline.artifact import PLM, read_metrics, read_settings
from recbole_tinynews.pipeline.saved_model import SavedSettings
from recbole_tinynews.serving.exported import NEWS_TOKENS, SETTINGS
from recbole_tinynews.serving.loading import trained_engine
from recbole_tinynews.settings.protocol import Settings


class FinishedRecommender:
    """A finished recommender, read from its folder.

    ``settings`` affect vectors and scores, ``written`` are all of its settings file; ``made_from``
    has fingerprints of its origins; every export is compared with ``engine``. ``size``: ``layers``
    and ``dim`` of ``load``. Raises ``ValueError`` if it is not one language model with this
    package's pooling, dense layer and user encoder, or ``load`` refuses its folder.
    """

    def __init__(
        self, folder: Path, model: type[NewsRecommender] | None = None, **size: int | None
    ) -> None:
        self.folder = folder
        self.engine = trained_engine(folder, SavedSettings.of(folder), model=model, **size)
        self.model, self.name = self.engine.model, type(self.engine.model).__name__
        self.written, self.metrics = read_settings(folder), read_metrics(folder)
        parts = self.model.news_encoder, self.model.user_encoder
        own = [part for part in parts if type(part) not in (OneTextEncoder, UserEncoder)]
        more = self.model.make_texts is not None or hasattr(self.model, "article_categories")
        if own or more or not self.engine.multiplies:
            raise ValueError(
                f"export expects one language model and the package's UserEncoder, whose vectors "
                f"are compared by their dot product, and {self.name} reads or scores in its own "
                f"way ({type((*own, self.engine)[0]).__name__}). Export a student, or one of its "
                "teachers, or serve its folder as it is."
            )
        self.text_encoder = cast("OneTextEncoder", self.model.news_encoder).language_model
        self.depth: int = self.text_encoder.plm.config.num_hidden_layers
        self._loaded = cast("Settings", self.engine.settings)
        self.made_from: dict[str, Any] = self._loaded["made_from"] or {}
        self.settings = {name: self._loaded[name] for name in SETTINGS}
        self.settings[NEWS_DIM] = self.text_encoder.dense.out_features
        self.settings[NEWS_TOKENS] = longest_news_text(self._loaded)
        self.news_heads = nn.ModuleDict(self.text_encoder.heads)
        self.user_encoder = cast("UserEncoder", self.model.user_encoder)

    def padded(self, attention: str) -> PaddedNewsEncoder:
        """The news encoder for padded batches, with an attention of transformers."""
        layers = self.model.layers_kept(self._loaded)
        plm = bare_plm(str(self.folder / PLM), layers, is_written=True)
        plm.load_state_dict(self.text_encoder.plm.state_dict())
        plm.set_attn_implementation(attention)
        encoder = PaddedNewsEncoder(plm, self.settings).eval()
        encoder.heads.load_state_dict(self.news_heads.state_dict())
        return encoder

    def write_auto_model(self, folder: Path, to: str) -> None:
        """Write language model and tokenizer; ``ValueError`` if ``AutoModel`` cannot read them."""
        config = load_config(str(self.folder / PLM))
        if config.is_encoder_decoder or hasattr(self.text_encoder.plm, PROJECTION):
            raise ValueError(
                f"--to={to} expects a language model that AutoModel reads by itself: no encoder of "
                f"an encoder-decoder and no dense layers after its pooling, got {config.model_type}"
                f"{'' if config.is_encoder_decoder else ' with dense layers'}. Use --to=onnx."
            )
        self.padded("sdpa").plm.save_pretrained(folder)
        load_tokenizer(str(self.folder / PLM)).save_pretrained(folder)
