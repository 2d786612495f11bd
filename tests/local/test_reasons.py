import pytest

from lookonce.local.reasons import hangs, reason

RAISED = "failed to load 'a' version 2: Internal: KeyError: 'x'\\n\\nAt:\\n  /m.py(1)\\n\""
TYPO = """[libprotobuf ERROR] Error parsing text-format inference.ModelConfig: 8:10: no field "q".
E1 manager.cc:1460] "Poll failed for model directory 'a': failed to read text proto from /r/a/config.pbtxt"
"""
LACKS = (
    "failed to load 'a' version 1: Invalid argument: unable to find backend library for backend 'tensorrt', "
    "try specifying runtime on the model configuration.\n"
)
TWO = """E1] "failed to load model 'a': at least one version"
E1] "failed to load model 'a': at least one version"
E1] "failed to load model 'b': no"
"""
LOGS = (
    ("", "it died without a word"),
    ("one\n\n  two  \n", "two"),
    (RAISED, "a version 2: Internal: KeyError: 'x'"),
    (TYPO, 'a: its config.pbtxt is broken at 8:10: no field "q"'),
    (
        "E1] \"Poll failed for model directory 'a': default priority level must be in range\"",
        "a: default priority level must be in range",
    ),
    (
        "E1] \"failed to poll model 'a': model not found in any model repository.\"",
        "a: model not found in any model repository",
    ),
    (LACKS, "a needs the backend tensorrt, which the local Triton does not have; --repository names another folder"),
    (TWO, "a: at least one version; b: no"),
    ("tritonserver: error while loading shared libraries: libz.so.1: cannot open", "libz.so.1: cannot open"),
)


@pytest.mark.parametrize(("log", "told"), LOGS)
def test_a_log_is_told_in_one_sentence(log: str, told: str) -> None:
    assert reason(log).endswith(told)
    assert "\n" not in reason(log)


def test_a_stub_without_its_model_file_is_known_to_hang() -> None:
    said = "I1 pb_stub.cc:2105]  Failed to preinitialize Python stub: Python model file not found in '/r/a/1/model.py'"
    assert hangs(said)
    assert reason(said) == "Python model file not found in '/r/a/1/model.py'"
    assert not hangs("")
