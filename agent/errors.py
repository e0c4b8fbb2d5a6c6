"""The one family of errors; each class says whose fault it is, its message what to do.

``InputError`` is the user's: a file, value or option that can be corrected (exit code 2).
``MachineError`` is this machine's: a runtime, delegate, disk or broker that refuses (exit code 1).
Anything else that escapes is a defect of Litewatch.
"""


class LitewatchError(Exception):
    """Base of every error Litewatch raises on purpose."""

    exit_code = 1


class InputError(LitewatchError):
    """Bad input: carries every problem found, each naming its place (``mqtt.port: expected …``)."""

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems: tuple[str, ...] = problems


class ConfigError(InputError):
    """agent.yaml, or a value it asks for, cannot be used."""


class SpecError(InputError):
    """A preprocessing spec cannot be parsed, or does not fit the model's input tensor."""


class BundleError(InputError):
    """A bundle is truncated, altered, unsigned, foreign or made for another agent."""


class FrameError(InputError):
    """One frame cannot be used (corrupt, oversized, wrong length): counted and skipped."""


class LabelError(InputError):
    """A label, or a file of labels, cannot be used."""


class WireError(InputError):
    """A message from the network cannot be decoded."""


class MachineError(LitewatchError):
    """This machine lacks or refuses something the agent needs."""


class RuntimeUnavailableError(MachineError):
    """No TFLite runtime on this machine can build an interpreter."""


class DelegateError(MachineError):
    """A delegate cannot be loaded, or failed while running."""


class FrameLostError(MachineError):
    """A frame was on its way when its runner was lost: it is counted, and the next one goes on."""


class SourceError(MachineError):
    """A source of frames cannot be opened or was lost."""


class OutboxError(MachineError):
    """The outbox on disk cannot be used."""
