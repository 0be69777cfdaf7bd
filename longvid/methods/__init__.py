"""Published formulas that several parts use: tensors in, tensors out."""
