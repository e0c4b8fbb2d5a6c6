"""Proof that a TFLite runtime works here: a subprocess builds an interpreter and runs it.

Importing proves nothing: tflite-runtime beside numpy 2 imports and then dies at the first
interpreter, and a broken build takes the whole process with it.
"""

import base64
import subprocess
import sys
import zlib

NO_ANSWER = "no answer within"
TIMEOUT_S = 120.0
"""A first start from a slow SD card reads some 60 MB of libraries."""

PROBE_MODEL = zlib.decompress(
    base64.b64decode(
        "eNpdUCEOwkAQHKBp2nAhFRUIBBIPHhQKiUBgCjShoVQACeAQCDThCTyLN/CFMne3DQdtJjc3N7PZ3QDAdDzp38uyjMknxIx4"
        "1oAGLAZEl/CIN32ecOAyBHwEvPmiWR2jK30hSZ4d0mNyWK7JWRKxeW6hTRZBmWxL9A6xIrQ3l1rbJCvwl9WnzjadLL8gEu6Z"
        "32aqGaoadUevia69D2JO9OR+Y/8BTyW+s5PVePFdiRZJZpElezgeZbqEmVE5tbRf72uT7oo0/62rzE5sVzb7zZ3+eqhqKbOL"
        "bya0Y4UfAysmAA=="
    )
)
"""488 bytes: float32 (1,1) → float32 (1,1), y = 2x + 1."""

_CODE = """
import sys
from importlib import import_module
interpreter = import_module(sys.argv[1]).Interpreter(model_content=sys.stdin.buffer.read(), num_threads=1)
interpreter.allocate_tensors()
import numpy
interpreter.set_tensor(interpreter.get_input_details()[0]["index"], numpy.array([[3.0]], numpy.float32))
interpreter.invoke()
value = float(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0, 0])
if value != 7.0:
    raise ArithmeticError(f"2 * 3 + 1 came out as {value}")
"""


def probe(module: str) -> str:
    """What is wrong with the runtime in ``module`` ("" when it ran the model), in one line."""
    try:
        # -P: what lies in the working directory must not pass for the runtime.
        child = subprocess.run(
            [sys.executable, "-P", "-c", _CODE, module],
            input=PROBE_MODEL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return f"{NO_ANSWER} {TIMEOUT_S:.0f} s"
    except OSError as error:
        return f"cannot start {sys.executable or 'Python'}: {error}"
    if child.returncode == 0:
        return ""
    return _reason(child.stderr.decode("utf-8", "replace"), child.returncode)


def _reason(stderr: str, code: int) -> str:
    if code < 0:
        return f"killed by signal {-code} while running a model"
    if "_ARRAY_API not found" in stderr:
        return "built for numpy 1 (_ARRAY_API not found)"
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"exit code {code}"
