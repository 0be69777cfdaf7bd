"""MG-LLaVA: two vision towers joined by a gate, and a token for every object of a frame.

encoder.py        the part: frames to fused tokens, with object tokens of slow frames
language_model.py the part: answers from stored tokens, as the authors ask
authors_llm.py    the language model of the authors' file
conv_gate.py      low- and high-resolution features into one grid
object_tokens.py  a token a box
object_boxes.py   boxes of a detector as the towers' square picture sees them
square_frames.py  which frames of a video, and how they are made square
checkpoint.py     the authors' file: fusion, projectors, the language model's weights
convnext.py       the high-resolution tower, from transformers' folder or open_clip's

Object tokens are made while frames are encoded, of boxes that a detector finds then. They are not
made of boxes that `longvid boxes` keeps in a store, nor for the frames that a question selects:

- A token is pooled from the high-resolution tower's maps, 2880 x 192 x 192 numbers a frame, which
  no store keeps. Another pass of that tower is needed, over frames or stored pictures.
- While indexing, an encoder is a function of frames, settings and weights, and equal fingerprints
  mean equal bytes (`EncoderPart.identity`). Boxes of a store are no setting: `longvid boxes` adds
  and removes them between two runs of one command, and needs the store that such a run has made.
- When a question is asked, a language model is given tokens or pictures (`reads_pictures`), and
  only one that names no token space is given pictures with their boxes.

One of two things would be needed: boxes in `FrameBatch`, as `Picture.found` has them, from a part
of the index side whose identity counts in the fingerprint; or a `Selection` whose pictures also go
to a language model that reads tokens, which would then hold the high-resolution tower too.
"""
