"""What ``calibration.factors`` and ``calibration.diagnosis`` are made of."""
