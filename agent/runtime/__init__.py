"""Runs the model: which TFLite runtime works here, and with which delegate.

Rules of this room. The runtime is chosen once, by an interpreter that was built and run in a
subprocess (``choice``). A model's structure is checked before a runtime sees it (``flatbuffer``),
because a runtime may trust it with its life. A kind is a frozen dataclass whose fields are its
options in agent.yaml and whose ``open`` gives a ``contracts.Runner``; ``opening.open_delegate``
is how the service calls it: hardware, which is foreign code over a device that may vanish, runs in a
child process (``child``), the CPU in this one. Not done here: preprocessing, and the meaning of the outputs.
"""

KINDS = {
    "cpu": "agent.runtime.cpu:Cpu",
    "edgetpu": "agent.runtime.edgetpu:EdgeTpu",
    "external": "agent.runtime.external:External",
}
