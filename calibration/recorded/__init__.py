"""What ``calibration.golden`` records of one input, and whether training's own tensors agree."""
