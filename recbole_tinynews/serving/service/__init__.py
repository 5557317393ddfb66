"""HTTP service for finished recommenders, with a page to explore them (extra ``serve``)."""
