"""What ``calibration.search`` searches, and how: the space of specs, halving, the set of the best."""
