"""Grounders: where the things of an answer are. That of the drawn world is in `world/`."""
