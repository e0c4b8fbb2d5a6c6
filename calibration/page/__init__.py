"""The parts of the page that ``calibration.report`` writes. Pure: results in, markup out."""
