"""Replays faults on labelled inputs at pack time, and learns from them what the device will see."""
