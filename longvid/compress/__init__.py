"""Compressors: they shrink the tokens of one segment and know no question.

Every compressor is `Segment → Segment`, keeps the frames and their embeddings, never adds tokens
and keeps `tokens.frame` sorted, so compressors chain in any order. `conserves_size` on the class
says whether the patches that tokens stand for are all still accounted for afterwards.
"""
