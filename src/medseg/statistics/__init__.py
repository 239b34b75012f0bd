"""Intervals and paired tests on plain arrays: how sure a number is, and when two differ."""
