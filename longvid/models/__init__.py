"""Network definitions and the numerics of the published systems: tensors in, tensors out."""
