"""A generated world of television-like videos with known answers: the yardstick for understanding.

scene.py      what there is: things, signs, shots, films, all from a seed
atlas.py      the outlines of shapes and glyphs as distance fields
draw.py       frames from shots, many at once, on any torch device
questions.py  questions with answers and evidence spans
film.py       films as H.264 files
truth.py      the box of every thing at any time
shape_matcher.py  shapes found in a picture by colour and outline
grounder.py   the grounder made of it
prior.py      how well the question's text alone answers, for every type
"""
