"""What ``calibration.layers`` is made of: graphs aligned, tensors measured, culprits recognised."""
