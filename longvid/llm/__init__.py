"""Language models: selected tokens and a question in, an answer out."""
