"""A power cut, simulated: what a program wrote but had not made safe is dropped, torn or kept."""
