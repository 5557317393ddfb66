"""Gradient boosting on the features of time and untrained titles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_tinynews.data.fields import IMPRESSION_SIZE
from recbole_tinynews.data.popularity import Counting
from recbole_tinynews.files.columns import CATEGORIES
from recbole_tinynews.files.installation import library
from recbole_tinynews.model.article_reader import ANY
from recbole_tinynews.model.baselines.categoryandtitle import CONTENT
from recbole_tinynews.model.baselines.timeandtitle import TimeAndTitle
from recbole_tinynews.model.interface import further_features
from recbole_tinynews.model.time_features import TimeFeatures
from recbole_tinynews.settings.protocol import Settings

LEAVES = 31  # of a tree, at most: LightGBM's default
INNER = LEAVES - 1  # the first nodes of a tree; its leaves follow
NODES = INNER + LEAVES
AT_ONCE = 128  # candidates whose paths fit the processor's caches


class BoostedTrees(nn.Module):
    """LightGBM's regression trees as tensors, which are saved as weights and score without it.

    A leaf is its own child, so that all paths may be followed equally far.
    """

    feature: Tensor
    threshold: Tensor
    child: Tensor
    value: Tensor

    def __init__(self, trees: int) -> None:
        super().__init__()
        nodes = torch.arange(trees * NODES, dtype=torch.int32)  # of all trees, one after the other
        self.register_buffer("feature", torch.zeros_like(nodes))
        self.register_buffer("threshold", torch.zeros(len(nodes), dtype=torch.double))
        self.register_buffer("child", nodes.repeat_interleave(2))
        self.register_buffer("value", torch.zeros(len(nodes), dtype=torch.double))

    def take(self, trees: Sequence[Mapping[str, Any]]) -> None:
        """Take the trees of ``Booster.dump_model()["tree_info"]``, in the place of those before."""
        self.load_state_dict(BoostedTrees(len(self.value) // NODES).state_dict())
        for number, tree in enumerate(trees):
            self._take(number * NODES, tree["tree_structure"])

    def _take(self, root: int, node: Mapping[str, Any]) -> int:
        if "split_index" not in node:  # the only leaf of a tree is its root
            leaf = root + (INNER + node["leaf_index"] if "leaf_index" in node else 0)
            self.value[leaf] = node["leaf_value"]
            return leaf
        place = root + node["split_index"]
        self.feature[place], self.threshold[place] = node["split_feature"], node["threshold"]
        for side, name in enumerate(("left_child", "right_child")):
            self.child[2 * place + side] = self._take(root, node[name])
        return place

    def forward(self, features: Tensor) -> Tensor:
        """Scores, ``[candidates, features] -> [candidates]``, summed in LightGBM's order."""
        feature, threshold, child, value = (each.cpu().numpy() for each in self.buffers())
        child = child.clip(0, len(value) - 1)  # so that damaged trees stay within bounds
        scores = np.empty(len(features))
        for start in range(0, len(features), AT_ONCE):
            x = features[start : start + AT_ONCE].double().cpu().numpy()
            row = np.arange(len(x), dtype=np.int32)[:, None] * x.shape[1]
            roots = np.arange(0, len(value), NODES, dtype=np.int32)
            node = np.broadcast_to(roots, (len(x), len(roots)))
            for _ in range(INNER):
                above = x.take(row + feature.take(node), mode="clip") > threshold.take(node)
                following = child.take(2 * node + above)
                if (following == node).all():
                    break
                node = following
            scores[start : start + AT_ONCE] = np.cumsum(value.take(node), axis=1)[:, -1]
        return torch.from_numpy(scores).to(features.device)


class TimeBoosted(TimeAndTitle):
    """LightGBM's lambdarank on content and all time features."""

    fixed: ClassVar[Mapping[str, Any]] = {"reader": ANY}
    text_features = 0  # after those of the page

    def __init__(self, config: Settings, dataset: Any) -> None:
        super().__init__(config, dataset)
        if dataset is not None:  # served trees need no LightGBM
            library("lightgbm", type(self).__name__, "boosting")
        self.trees = BoostedTrees(config["boosting_rounds"])
        self._settings = config

    def make_time_features(self, config: Settings) -> TimeFeatures:
        """All features of time, and those of the reader and the page."""
        self.counting = counting = Counting.of(config)
        of_page = len(CATEGORIES) if counting.page else 0
        further = further_features(counting) + of_page + self.text_features
        sizes = len(counting.windows), counting.limited
        return TimeFeatures(*sizes, extended=True, reader=counting.reader, further=further)

    def counters(self, interaction: Interaction) -> Tensor:
        """Counters, cosines with clicks and page, whether of its categories, and a text score."""
        if not (self.reads_reader or self.text_features):
            return super().counters(interaction)
        text, context, *_ = self.match_impressions(interaction)
        if context.page is not None:
            page = context.page.repeat_interleave(interaction[IMPRESSION_SIZE])
            of_page = self.article_categories[page]
            same = (self.article_categories[context.candidates] == of_page) & (of_page != 0)
            context = context.with_further(same.float())
        if self.text_features:
            context = context.with_further(text.unsqueeze(1))
        assert context.counters is not None, "its batches have counters"
        return context.counters

    def fit(self, features: NDArray, labels: NDArray, offsets: NDArray) -> None:
        """Grow the trees."""
        from lightgbm import LGBMRanker

        rising = np.zeros(features.shape[1], int)
        rising[len(CONTENT) :][: self.time_features.rising] = 1  # clicks never lower a score
        ranker = LGBMRanker(
            n_estimators=self._settings["boosting_rounds"],
            learning_rate=self._settings["boosting_rate"],
            random_state=self._settings["seed"],
            num_leaves=LEAVES,
            n_jobs=torch.get_num_threads(),
            deterministic=True,
            force_row_wise=True,
            monotone_constraints=rising.tolist(),
            verbose=-1,
        )
        sizes = np.diff(offsets)
        ranker.fit(features, labels == 1, group=sizes[sizes > 0])
        self.trees.take(ranker.booster_.dump_model()["tree_info"])

    def score_features(self, features: Tensor) -> Tensor:
        """Scores by the trees, which know nothing of more clicks than in training."""
        surplus = self.time_features.surplus(features[:, len(CONTENT) :])
        return self.trees(features).to(features) + surplus
