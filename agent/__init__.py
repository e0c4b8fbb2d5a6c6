"""Litewatch's on-device agent: runs a .tflite model and says what happens to its accuracy."""

__version__ = "0.1.0"
