"""How much of a model a delegate took over, from the interpreter's list of operators.

A delegate that claims nothing is silent and the model runs on the built-in kernels; only the
operators tell. Once a delegate is applied, the runtimes keep the model's own operators in the list
and append one ``DELEGATE`` per group they replaced; nothing marks the replaced ones, but all of
them lie between their group's inputs and outputs.
"""

from collections.abc import Mapping, Sequence
from typing import Any

DELEGATE = "DELEGATE"


def delegated(operators: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """(the main graph's operators as the model's file lists them, how many of them are delegated).

    ``operators`` is what ``Interpreter._get_ops_details()`` returns after ``allocate_tensors()``:
    mappings with ``op_name`` and the tensor indices ``inputs`` and ``outputs``.
    """
    own = [operator for operator in operators if operator["op_name"] != DELEGATE]
    makers = {int(tensor): number for number, operator in enumerate(own) for tensor in operator["outputs"]}
    replaced: set[int] = set()
    for group in operators:
        if group["op_name"] == DELEGATE:
            replaced |= _between(group, own, makers)
    return len(own), len(replaced)


def _between(
    group: Mapping[str, Any], own: Sequence[Mapping[str, Any]], makers: Mapping[int, int]
) -> set[int]:
    """Numbers of the operators that make the group's outputs out of the group's inputs."""
    given = {int(tensor) for tensor in group["inputs"]}
    wanted = [int(tensor) for tensor in group["outputs"]]
    found: set[int] = set()
    while wanted:
        maker = makers.get(wanted.pop())
        if maker is not None and maker not in found:
            found.add(maker)
            wanted += [int(tensor) for tensor in own[maker]["inputs"] if int(tensor) not in given]
    return found
