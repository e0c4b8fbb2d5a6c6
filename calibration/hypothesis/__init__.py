"""Explanations ``calibration.divergence`` tries for a foreign tensor, one family a module."""
