"""tfsgd against a PyTorch stack that does the same work: `python -m bench`."""
