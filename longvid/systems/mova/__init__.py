"""MoVA: vision experts chosen by the question, joined by gated attention.

routing.py  a model's reply to experts; their maps brought to one grid
adapter.py  MoV-Adapter: expert maps and a question into tokens
layers.py   its attention, feed-forward and downsampling layers
"""
