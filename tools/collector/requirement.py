"""The one package that the collector needs and a device does not."""

from importlib.util import find_spec

from agent.errors import MachineError


def require_sqlalchemy() -> None:
    """Raise MachineError with what to type where SQLAlchemy is missing."""
    if find_spec("sqlalchemy") is None:
        raise MachineError("the collector needs SQLAlchemy: pip install 'litewatch[collector]'")
