"""Verdicts on open answers: by a language model over HTTP, from a recording, or by a majority."""
