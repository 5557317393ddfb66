"""NAML: title, abstract, category and subcategory as views of an article.

Wu et al., "Neural News Recommendation with Attentive Multi-View Learning", IJCAI 2019.
"""

from __future__ import annotations

from recbole_tinynews.model.plmnr import PLMNR


class NAML(PLMNR):
    """Attention over the words of each text, the views of an article, and a user's clicks.

    Section 2.1, for title and abstract with separate weights::

        c_i = ReLU(F w_(i-1):(i+1) + b)      a_i = q . tanh(V c_i + v)
        r_t = sum_i softmax_i(a_i) c_i

    Category and subcategory: ``r_c = ReLU(V_c e_c + v_c)``, ``e_c`` of size ``category_dim``.
    Attention pooling combines the views, and (section 2.2) the clicked articles. The abstract,
    which MIND has, replaces the paper's body.
    """
