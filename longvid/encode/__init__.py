"""Encoders: frames to tokens in a language model's space, and to embeddings that text can find."""
