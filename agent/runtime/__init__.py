"""Runs the model: which TFLite runtime works here, and with which delegate.

Rules of this room. The runtime is chosen once, by an interpreter that was built and run in a
subprocess (``choice``). A model's structure is checked before a runtime sees it (``flatbuffer``),
because a runtime may trust it with its life. A kind is a frozen dataclass whose fields are its
options in agent.yaml and whose ``open`` gives a ``contracts.Runner``; ``interpreter.open_runner``
is how the service calls it. Not done here: preprocessing, and the meaning of the outputs.
"""

KINDS = {"cpu": "agent.runtime.cpu:Cpu"}
