"""Intervals and paired tests on plain arrays; what a number may be believed, and when two differ."""
