"""The index wing on Ray Data, and what else runs as a job on a cluster."""
