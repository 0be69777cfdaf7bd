"""The ask wing: a store and a question in, an answer with its evidence out."""
