"""Training of longvid-mini, from random weights to the shipped ones.

stream.py       training batches as a function of (seed, step)
patches.py      what each patch of a frame shows: targets of the auxiliary losses
tower.py        stage 1: vision tower and text tower
search_codes.py what the search vectors of frames and texts shall be
search_stage.py stages 2 and 3: text tower and frames learn those codes
needles.py      how well they find one place in an hour
compression.py  random compression of visual tokens, the augmentation of stage 4
answer.py       stage 4: the answering model on frozen features
progress.py     checkpoints, schedules and the moving average of weights
measure.py      accuracy by type on held-out films, beside the text-only prior
"""
