"""`medseg export`: a run as one file that any runtime runs, proven equal to the run."""
