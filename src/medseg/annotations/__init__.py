"""Annotations of labelling tools to masks: `medseg data convert`."""
