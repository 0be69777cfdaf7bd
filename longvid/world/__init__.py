"""A generated world of television-like videos with known answers: the yardstick for understanding.

scene.py                what there is: things, signs, shots, films, all from a seed
atlas.py                the outlines of shapes and glyphs as distance fields
draw.py                 frames from shots, many at once, on any torch device
film.py                 films as H.264 files
narration.py            what a film says and writes: signs in its pictures, and narration
views.py                a film as its frames show it: what can be asked of them
questions.py            questions with answers and evidence spans
one_shot_questions.py   those that one shot answers
many_shot_questions.py  those about order, repetition, and signs that name a shot
prior.py                how well the question's text alone answers, for every type
truth.py                the box of every thing at any time
shape_matcher.py        shapes found in a picture by colour and outline
outline_fit.py          their outlines fitted to the picture
grounder.py             the grounder made of both
"""
