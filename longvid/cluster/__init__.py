"""The index wing on a Ray cluster."""
