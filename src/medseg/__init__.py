"""medseg trains, judges and ships 2-D medical image segmentation networks."""

__version__ = "0.1.0"
