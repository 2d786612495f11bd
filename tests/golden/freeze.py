"""Run as `python -m tests.golden.freeze`: what the service makes of every case now becomes what it must always make."""

import asyncio
import json

from tests.golden import cases


def main() -> None:
    frozen = {
        "pictures": {name: cases.tensor_digests(data) for name, data in cases.pictures().items()},
        "candidates": {name: finished() for name, finished in cases.suppressions()},
        "sample": asyncio.run(cases.found_by_the_sample()),
    }
    cases.EXPECTED.write_text(json.dumps(frozen, indent=1) + "\n")


if __name__ == "__main__":
    main()
