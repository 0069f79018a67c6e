"""Clips for tests, made by their recipes when they are needed; none is stored.

`clips` makes them. Every picture carries its number in its pixels, so that a test can tell order and loss from what
comes out of a decoder: `number_of(bgr)`.
"""
