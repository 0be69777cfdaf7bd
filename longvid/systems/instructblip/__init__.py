"""InstructBLIP: queries that read the question look at every frame when it is asked."""
