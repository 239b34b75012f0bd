"""Runs beside each other, and published tables beside arithmetic."""
