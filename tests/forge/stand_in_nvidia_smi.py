"""A stand-in for nvidia-smi: the GPUs of the JSON file that `STAND_IN_GPUS` names, as `compute_cap,name` lines."""

import json
import os
import sys
from pathlib import Path


def main() -> int:
    gpus = json.loads(Path(os.environ["STAND_IN_GPUS"]).read_text())
    if gpus == "broken":
        sys.stderr.write("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n")
        return 9
    if "--query-gpu=compute_cap,name" not in sys.argv or "--format=csv,noheader" not in sys.argv:
        sys.stderr.write("Field is not a valid field to query.\n")
        return 2
    wanted = next((argument.partition("=")[2] for argument in sys.argv if argument.startswith("--id=")), None)
    if wanted is not None and (not wanted.isdecimal() or int(wanted) >= len(gpus)):
        sys.stdout.write("No devices were found\n")
        return 6
    for line in gpus if wanted is None else [gpus[int(wanted)]]:
        sys.stdout.write(line + "\n")
    return 0


sys.exit(main())
