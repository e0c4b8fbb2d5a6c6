"""The peer: the loop everybody writes by hand, and nothing else.

``python loop.py MODEL FOLDER FRAMES [FPS]`` reads pictures, keeps the central 87.5 %, resizes, runs
and takes the argmax. It prints a line at the first prediction and another at the end.
"""

import sys
import time
from pathlib import Path

import cv2
from ai_edge_litert.interpreter import Interpreter


def main(model: str, folder: str, frames: int, fps: float) -> None:
    cv2.setNumThreads(1)
    interpreter = Interpreter(model_path=model, num_threads=1)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]
    result = interpreter.get_output_details()[0]["index"]
    _, height, width, _ = source["shape"]
    paths = sorted(str(path) for path in Path(folder).iterdir())
    begin = time.monotonic()
    for number in range(frames):
        if fps:
            time.sleep(max(0.0, begin + number / fps - time.monotonic()))
        read = cv2.imread(paths[number % len(paths)])
        assert read is not None
        image = cv2.cvtColor(read, cv2.COLOR_BGR2RGB)
        rows, columns = image.shape[:2]
        top, left = int(rows * 0.125 / 2), int(columns * 0.125 / 2)
        crop = image[top : rows - top, left : columns - left]
        resized = cv2.resize(crop, (width, height), interpolation=cv2.INTER_LINEAR)
        interpreter.set_tensor(source["index"], resized[None])
        interpreter.invoke()
        best = int(interpreter.get_tensor(result)[0].argmax())
        if number == 0:
            sys.stdout.write(f"{best}\n")
            sys.stdout.flush()
    sys.stdout.write("end\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]) if len(sys.argv) > 4 else 0.0)
