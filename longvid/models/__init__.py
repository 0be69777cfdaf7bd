"""Models of Hugging Face: how they are found, loaded and asked; no published system by name."""
