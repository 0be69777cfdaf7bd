"""Selectors: they choose what a question is shown, within a budget of visual tokens.

Every selector is `(Query, [Segment], budget) → [Segment]` in time order, so selectors chain. They
read stored tokens and embeddings and never open a video.
"""
