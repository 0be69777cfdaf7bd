"""SlowFast-LLaVA: its language model; its pooling is methods/slowfast_pooling.py."""
