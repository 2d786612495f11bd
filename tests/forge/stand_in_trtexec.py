"""A stand-in for trtexec: the same banner, help, refusals, exit codes and files; what it does is told by a JSON file.

`STAND_IN` names that file; each call is added to the file beside it with the ending `.calls`.
Its plans carry the ONNX they were built from, and ONNX Runtime answers for them.
"""

import json
import os
import re
import signal
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

MAGIC = b"ftrt"
ERRORS = {
    "unsupported": '[TRT] ModelImporter.cpp:948: While parsing node number 3 [NonMaxSuppression -> "x"]: no importer',
    "out of memory": "[TRT] Error Code 2: OutOfMemory (Requested size was 8589934592 bytes.)",
}
DEATHS = {"segfault": signal.SIGSEGV, "killed": signal.SIGKILL}
COMMON = (
    *("--onnx=<file>", "--minShapes=spec", "--optShapes=spec", "--maxShapes=spec", "--inputIOFormats=spec"),
    *("--memPoolSize=poolspec", "--profilingVerbosity=mode", "--avgTiming=M", "--refit", "--noTF32", "--verbose"),
    *("--saveEngine=<file>", "--loadEngine=<file>", "--timingCacheFile=<file>", "--skipInference", "--shapes=spec"),
    *("--loadInputs=spec", "--iterations=N", "--warmUp=N", "--duration=N", "--exportOutput=<file>", "--device=N"),
    *("--help",),
)
WEAK_TYPING = "--fp16", "--bf16", "--int8", "--fp8", "--best", "--calib=<file>"
OPTIONS = {
    8: (*COMMON, *WEAK_TYPING, "--workspace=N", "--buildOnly"),
    10: (*COMMON, *WEAK_TYPING, "--stronglyTyped"),
    11: COMMON,
}


def main() -> int:
    behaviour = json.loads(Path(os.environ["STAND_IN"]).read_text())
    number = str(behaviour.get("version", "101100"))
    arguments = sys.argv[1:]
    with Path(os.environ["STAND_IN"]).with_suffix(".calls").open("a") as calls:
        calls.write(
            json.dumps({"pid": os.getpid(), "arguments": arguments, "gpu": os.environ.get("CUDA_VISIBLE_DEVICES")})
            + "\n"
        )
    say_plainly(f"&&&& RUNNING TensorRT.trtexec [TensorRT v{number}] [b33] # trtexec {' '.join(arguments)}")
    known = OPTIONS[int(number) // 10000 or int(number) // 1000]
    if "--help" in arguments:
        print_help(known)
        return 0
    options = dict(argument.partition("=")[::2] for argument in arguments)
    unknown = sorted(set(options) - {option.partition("=")[0] for option in known})
    if unknown:
        print_help(known)
        for option in unknown:
            say("E", f"Unknown option: {option} {options[option]}")
        return failed(number)
    if build(options, behaviour) if "--onnx" in options else infer(options, behaviour):
        return failed(number)
    say_plainly(f"&&&& PASSED TensorRT.trtexec [TensorRT v{number}] [b33] # trtexec")
    return 0


def build(options: dict[str, str], behaviour: dict[str, Any]) -> int:
    onnx, plan = Path(options["--onnx"]), Path(options["--saveEngine"])
    how = behaviour.get("build", "well")
    say("I", "Start parsing network model.")
    if not onnx.is_file():
        return engine_failed(f"[TRT] Could not open file {onnx}")
    say("I", "Finished parsing network model. Parse time: 0.01")
    if "--minShapes" in options and fixed_batch(onnx):
        return engine_failed("Static model does not take explicit shapes since the shape is in the model")
    if how in ERRORS:
        return engine_failed(ERRORS[how])
    say("I", "[TRT] Local timing cache in use. Profiling results in this builder pass will not be stored.")
    blob = MAGIC + onnx.read_bytes() + b"\0" * 4096
    if how in DEATHS:
        plan.write_bytes(blob[: len(blob) // 2])
        os.kill(os.getpid(), DEATHS[how])
    if how == "slowly":
        plan.write_bytes(blob[: len(blob) // 2])
        time.sleep(600)
    time.sleep(behaviour.get("build_s", 0))
    say("I", "[TRT] Engine generation completed in 0.02 seconds.")
    say("I", f"Created engine with size: {len(blob) / 2**20:.6g} MiB")
    if how == "disk full":
        plan.write_bytes(blob[: len(blob) // 2])
        return engine_failed("Saving engine to file failed.")
    save(options, blob, how)
    say("I", "Skipped inference phase since --skipInference is added.")
    return 0


def fixed_batch(onnx: Path) -> bool:
    """A free side has a name in the file, close behind its tensor's: cheaper than loading `onnx` every time."""
    return re.search(rb"images.{0,16}\x12[\x01-\x0f][a-z]", onnx.read_bytes(), re.DOTALL) is None


def save(options: dict[str, str], blob: bytes, how: str) -> None:
    written = {"empty": b"", "partial": blob[: len(blob) // 2], "foreign": blob[:4] + b"?" + blob[5:]}
    if how != "missing":
        Path(options["--saveEngine"]).write_bytes(written.get(how, blob))
    if "--timingCacheFile" in options:
        Path(options["--timingCacheFile"]).write_bytes(b"timing")


def infer(options: dict[str, str], behaviour: dict[str, Any]) -> int:
    np, ort = import_module("numpy"), import_module("onnxruntime")
    blob = Path(options["--loadEngine"]).read_bytes()
    say("I", f"[TRT] Loaded engine size: {len(blob) >> 20} MiB")
    try:
        session = ort.InferenceSession(blob.removeprefix(MAGIC).rstrip(b"\0"))
    except Exception:  # noqa: BLE001
        return engine_failed("[TRT] IRuntime::deserializeCudaEngine: Error Code 1: Serialization (magicTag mismatch)")
    name, _, file = options["--loadInputs"].partition(":")
    told = options.get("--shapes", "").partition(":")[2]
    shape = [int(size) for size in told.split("x")] if told else session.get_inputs()[0].shape
    data = Path(file).read_bytes()
    if len(data) != np.prod(shape):
        say("E", f"Unexpected file size for input file: {file}. Note: Input binding size is: {np.prod(shape)} bytes")
        return failed_inference()
    answer = session.run(None, {name: np.frombuffer(data, np.uint8).reshape(shape)})[0]
    how = behaviour.get("infer", "well")
    if how == "wrongly":
        answer[..., :4] += 40
    if how == "wrongly in batches" and shape[0] > 1:
        answer[..., 4] *= 0.5
    if how == "crash":
        say("E", "[TRT] IExecutionContext::enqueueV3: Error Code 1: Cuda Runtime (an illegal memory access)")
        return failed_inference()
    if how == "shape":
        answer = answer[:, :-1]
    values = [f"{value:.6g}" for value in answer.ravel()]
    if how == "nan":
        values[7] = "-nan"
    if how != "silently":
        export(Path(options["--exportOutput"]), session.get_outputs()[0].name, answer.shape, values)
    return 0


def export(file: Path, name: str, shape: tuple[int, ...], values: list[str]) -> None:
    """To the letter as trtexec writes it, which is no writer of JSON."""
    text = f'[\n  {{ "name" : "{name}"\n  , "dimensions" : "{"x".join(map(str, shape))}"\n  , "values" : [ '
    file.write_text(text + ", ".join(values) + " ]\n  }\n]\n")


def engine_failed(cause: str) -> int:
    say("E", cause)
    say("E", "Engine could not be created from network")
    say("E", "Building engine failed")
    say("E", "Failed to create engine from model or file.")
    say("E", "Engine set up failed")
    return 1


def failed_inference() -> int:
    say("E", "Error occurred during inference")
    return 1


def failed(number: str) -> int:
    say_plainly(f"&&&& FAILED TensorRT.trtexec [TensorRT v{number}] [b33] # trtexec")
    return 1


def print_help(known: tuple[str, ...]) -> None:
    say_plainly("=== Model Options ===")
    for option in known:
        say_plainly(f"  {option:<28}As NVIDIA's trtexec has it")


def say(level: str, text: str) -> None:
    say_plainly(f"[{time.strftime('%m/%d/%Y-%H:%M:%S')}] [{level}] {text}")


def say_plainly(text: str) -> None:
    sys.stdout.write(re.sub(r"\s+$", "", text) + "\n")
    sys.stdout.flush()


sys.exit(main())
