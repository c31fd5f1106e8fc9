"""Slow, plain references written from the papers alone; tests compare the library with them."""
