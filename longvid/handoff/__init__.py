"""Hand stored tokens to a serving engine, so that it answers without a vision tower.

    decision.py        which way a store's tokens can go to an engine, or why they cannot
    prompt_layout.py   the prompt as text and frames, without any weights
    packing.py         tensors as an engine's requests carry them
    vllm.py            parts and requests of vLLM
    sglang.py          requests of SGLang

Only longvid may send these requests: an engine that takes embeddings trusts whoever sends them.
Keep it on loopback or a Unix socket.
"""
