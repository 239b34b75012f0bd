"""Counts of each image first, metrics from the counts after, by a named reduction."""
