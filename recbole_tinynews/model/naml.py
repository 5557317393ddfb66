"""NAML: title, abstract, category and subcategory as views of an article.

Wu et al., "Neural News Recommendation with Attentive Multi-View Learning", IJCAI 2019.
"""

from __future__ import annotations

from recbole_tinynews.model.plmnr import PLMNR


class NAML(PLMNR):
    """Attention over words in each text, over the views of an article, over a user's clicks.

    Section 2.1, for the title, and for the abstract with weights of its own::

        c_i = ReLU(F w_(i-1):(i+1) + b)      a_i = q . tanh(V c_i + v)
        r_t = sum_i softmax_i(a_i) c_i

    A category is ``r_c = ReLU(V_c e_c + v_c)``, with ``e_c`` of size ``category_dim``, a
    subcategory likewise; the vector of an article is the attention pooling of its views. Section
    2.2: that of a user is the attention pooling of the clicked articles. The paper reads the body
    where ``views`` has the abstract, which is what MIND gives.
    """
