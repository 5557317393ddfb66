"""NAML (Wu et al., IJCAI 2019): title, abstract, category and subcategory as views."""

from __future__ import annotations

from recbole_tinynews.model.paper.plmnr import PLMNR


class NAML(PLMNR):
    """Attention over the words of each text, the views of an article, and a user's clicks.

    Section 2.1, for title and abstract (in place of the body) with separate weights::

        c_i = ReLU(F w_(i-1):(i+1) + b)      a_i = q . tanh(V c_i + v)
        r_t = sum_i softmax_i(a_i) c_i

    Category and subcategory: ``r_c = ReLU(V_c e_c + v_c)``, ``e_c`` of size ``category_dim``.
    """
