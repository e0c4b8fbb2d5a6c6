"""The fault bench: known mistakes are made on purpose, and the diagnosis must name them.

The mistakes are made by code that the diagnosis does not share (NumPy, OpenCV and Pillow called
directly), over every classifier of the data pack and many draws of the golden set. What a mistake
truly costs is measured on the labelled photographs that a draw leaves out.
"""
