"""Rerankers: what a search found, scored once more by a model that sees question and pictures."""
