"""One folder for each published system."""
