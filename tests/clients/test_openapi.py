"""Whatever the OpenAPI document allows is answered as it says, and whatever it forbids is refused."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
RUN = "--checks all --mode all --phases examples,coverage,fuzzing --max-examples 50 --seed 1 --request-timeout 30"


def test_the_gateway_keeps_its_openapi_document(address_of_fake: str, tmp_path: Path) -> None:
    schemathesis = Path(sys.executable).with_name("schemathesis")
    command = [schemathesis, "--config-file", HERE / "schemathesis.toml", "run", f"{address_of_fake}/openapi.json"]
    hooked = os.environ | {"SCHEMATHESIS_HOOKS": str(HERE / "with_pictures.py")}
    done = subprocess.run(
        [*command, *RUN.split()], capture_output=True, text=True, cwd=tmp_path, env=hooked, check=False
    )
    assert done.returncode == 0, done.stdout[-20_000:]
