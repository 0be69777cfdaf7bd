"""LLaMA-VID: encoder, language model, network and checkpoint."""
