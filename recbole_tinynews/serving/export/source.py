"""The finished recommender to export."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from recbole_tinynews.encoder.news_encoder import NewsEncoder
from recbole_tinynews.encoder.plm_files import bare_plm, load_config, load_tokenizer, save_bare_plm
from recbole_tinynews.encoder.text_encoder import TextEncoder
from recbole_tinynews.encoder.users.attentive import UserEncoder
from recbole_tinynews.model.article_reader import longest_news_text
from recbole_tinynews.model.recommender import NewsRecommender
from recbole_tinynews.pipeline.artifact import PLM, read_metrics, read_settings
from recbole_tinynews.serving.export.description import NEWS_TOKENS, SETTINGS
from recbole_tinynews.serving.export.torch_engine import Heads, PaddedNewsEncoder
from recbole_tinynews.serving.loading import load_trained
from recbole_tinynews.settings.protocol import Settings

TEXTS_AND_SCORES = ("news_tokens", "text_table", "encode_news", "encode_user", "match", "predict")

TRAINING = (
    "epochs",
    "max_steps",
    "learning_rate",
    "plm_learning_rate",
    "train_batch_size",
    "negatives",
    "finetune_layers",
    "precision",
    "head_init",
    "news_pooling",
    "user_encoder",
    "temperature",
    "num_teachers",
)


class Source:
    """A finished recommender, read from its folder.

    ``settings`` affect vectors and scores, ``training`` ones go on the card, ``plm`` is as set for
    the training; ``made_from`` has fingerprints of its origins; every export is compared with
    ``engine``. ``size``: ``layers`` and ``dim`` of ``load``. Raises ``ValueError`` if it is not one
    language model with this package's pooling, dense layer and user encoder, or ``load`` refuses
    its folder.
    """

    def __init__(
        self, folder: Path, model: type[NewsRecommender] | None = None, **size: int | None
    ) -> None:
        engine = load_trained(folder, "export", model=model, **size)
        self.folder, written = folder, read_settings(folder)
        self.engine, self.model = engine, engine.model
        self.name = type(engine.model).__name__
        self.metrics = read_metrics(folder)
        self._all = cast("Settings", engine.settings)
        self.made_from: dict[str, Any] = self._all["made_from"] or {}
        self.text_encoder: TextEncoder = self._checked_news_encoder().text_encoder
        self.depth: int = self.text_encoder.plm.config.num_hidden_layers
        self.settings = {name: self._all[name] for name in SETTINGS}
        self.settings["news_dim"] = self.text_encoder.dense.out_features
        self.settings[NEWS_TOKENS] = longest_news_text(self._all)
        self.plm: str = written["plm"]
        self.training = {name: written[name] for name in TRAINING if name in written}

    def _checked_news_encoder(self) -> NewsEncoder:
        own = type(self.model)
        changed = [
            each
            for each in TEXTS_AND_SCORES
            if getattr(own, each) is not getattr(NewsRecommender, each)
        ]
        encoder = self.model.news_encoder
        if changed or type(encoder) is not NewsEncoder:
            raise ValueError(
                f"export expects one language model whose vectors are compared by their dot "
                f"product, and {self.name} reads or scores in its own way "
                f"({', '.join(changed) or type(encoder).__name__}). Export a student, or one of "
                "its teachers."
            )
        if type(self.model.user_encoder) is not UserEncoder:
            raise ValueError(
                f"export expects the package's UserEncoder, got "
                f"{type(self.model.user_encoder).__name__} in {self.name}. Serve its folder as it "
                "is: recbole_tinynews.load."
            )
        return encoder

    @property
    def heads(self) -> Heads:
        """The modules after the language model."""
        encoder = self.text_encoder
        return Heads(encoder.pooling, encoder.dense, cast("UserEncoder", self.model.user_encoder))

    def stage_named(self, fingerprint: str) -> str:
        """Folder name of a stage, or its fingerprint if there is no such folder."""
        beside = sorted(self.folder.resolve().parent.glob(f"*-{fingerprint}"))
        return beside[0].name if beside else fingerprint

    @property
    def teachers(self) -> list[str]:
        """Fingerprints of the teachers' stages."""
        after = self.made_from.get("after", [])
        places = (each.partition("/")[0] for each in self.made_from.get("teachers", "").split())
        return list(dict.fromkeys(after[int(place)] for place in places))

    def padded(self, attention: str) -> PaddedNewsEncoder:
        """The news encoder for padded batches, with an attention of transformers."""
        plm = bare_plm(str(self.folder / PLM), self.model.layers_kept(self._all))
        plm.load_state_dict(self.text_encoder.plm.state_dict())
        plm.set_attn_implementation(attention)
        return PaddedNewsEncoder(plm, self.heads, self.settings).eval()

    def check_auto_model(self, to: str) -> None:
        """Raise ``ValueError`` if ``AutoModel`` cannot read the language model."""
        config = load_config(str(self.folder / PLM))
        if config.is_encoder_decoder:
            raise ValueError(
                f"--to={to} expects a language model that AutoModel reads by itself, and this one "
                f"is the encoder of an encoder-decoder ({config.model_type}). Use --to=onnx."
            )

    def write_configuration(self, folder: Path) -> None:
        """Write ``config.json``, with the true depth, and the tokenizer."""
        save_bare_plm(str(self.folder / PLM), folder, self.depth)

    def write_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer."""
        load_tokenizer(str(self.folder / PLM)).save_pretrained(folder)
