"""The index wing on Ray, and what else runs as a job on a cluster."""
