"""MG-LLaVA: two vision towers joined by a gate, and a token for every object of a frame.

encoder.py        the part: frames to fused tokens, with object tokens of slow frames
language_model.py the part: answers from stored tokens, as the authors ask
family.py         the language model of the authors' file
conv_gate.py      low- and high-resolution features into one grid
object_tokens.py  a token a box
object_boxes.py   boxes of a detector as the towers' square picture sees them
square_frames.py  which frames of a video, and how they are made square
checkpoint.py     the authors' file: fusion, projectors, the language model's weights
convnext.py       the high-resolution tower, from transformers' folder or open_clip's
"""
