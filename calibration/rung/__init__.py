"""The rungs ``calibration.ladder`` climbs: running, measuring, judging and wording each."""
