"""MG-LLaVA: two vision towers joined by a gate, and a token for every object of a frame.

conv_gate.py      low- and high-resolution features into one grid
object_tokens.py  a token a box
object_boxes.py   boxes of a detector as the towers' square picture sees them
frames.py         which frames of a video, and how they are padded
"""
