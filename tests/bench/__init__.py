"""Ratios measured side by side in one run: `make bench`. Not tests: nothing here can fail."""
