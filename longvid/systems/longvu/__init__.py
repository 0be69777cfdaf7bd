"""LongVU: adaptive compression of a long video in time, then by question, then in space.

The formulas are `methods/temporal_reduction.py`, `methods/stc.py` and `methods/longvu_config.py`.
"""
