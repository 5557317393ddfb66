"""CenNewsRec (Qi et al., Findings of EMNLP 2020): attention to all clicks, GRU over the newest."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from recbole_tinynews.encoder.users.long_short_term import RecentAndAllUser
from recbole_tinynews.encoder.words.context import CNNSelfAttention
from recbole_tinynews.model.plmnr import PLMNR
from recbole_tinynews.model.text_encoders import reads_words, unfit_heads
from recbole_tinynews.settings.protocol import Settings


class CenNewsRec(PLMNR):
    """Words: CNN, self-attention, attention pooling (section 3.1). Clicks: ``RecentAndAllUser``."""

    @classmethod
    def conflicting_settings(cls, config: Settings, prefix: str) -> Iterator[str]:
        """Also require heads that divide a vector, and the CNN word encoder."""
        yield from super().conflicting_settings(config, prefix)
        head = config["head_dim"]
        of = f"{prefix}head_dim={head} in {cls.__name__}"
        yield from unfit_heads(cls.news_dim(config), head, of, prefix)
        if reads_words(config) and config["word_encoder"] != "cnn":
            yield (
                f"{prefix}word_encoder expects cnn in {cls.__name__}, whose words pass a CNN and "
                f"then self-attention, got {config['word_encoder']}. Leave {prefix}word_encoder out"
            )

    def make_word_context(self, config: Settings) -> nn.Module:
        """CNN, then self-attention."""
        return CNNSelfAttention(config["word_dim"], config["news_dim"], config["head_dim"])

    def make_user_encoder(self, config: Settings) -> nn.Module:
        """Attention over all clicks and a GRU over the newest."""
        own = RecentAndAllUser(
            self.news_dim(config), config["query_dim"], config["head_dim"], config["recent_clicks"]
        )
        return self.started(config, own)
