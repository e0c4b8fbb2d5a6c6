"""Runs one command and accounts for it; a process of its own, because a child's peak memory counts
what it was before it became the command: a copy of its parent.

``python -I -S launch.py COMMAND [ARG …]`` prints one line of JSON. Standard library only, and little
of it.
"""

import json
import os
import subprocess
import sys
import tempfile
import time


def main(command: list[str]) -> None:
    with tempfile.TemporaryFile() as said:
        begin = time.monotonic()
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said)
        assert child.stdout is not None
        child.stdout.readline()
        first_line_s = time.monotonic() - begin
        child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        wall_s = time.monotonic() - begin
        said.seek(0)
        last_words = said.read().decode(errors="replace")[-800:]
    found = {
        "code": os.waitstatus_to_exitcode(status),
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "wall_s": wall_s,
        "peak_rss_mib": usage.ru_maxrss / 1024,
        "first_line_s": first_line_s,
        "last_words": last_words,
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
