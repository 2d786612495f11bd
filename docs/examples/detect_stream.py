"""Send pictures over one WebSocket and print what is found in each: needs `pip install websockets`.

    python detect_stream.py street.jpg yard.png --url ws://localhost:8080/v1/stream

The gateway skips frames that are overtaken by newer ones. Whoever wants every frame answered waits, as here, for an
answer before sending the next frame; a camera just sends, and reads in `frame` and `dropped` what became of it.
"""

import argparse
import json
import os
from pathlib import Path

from websockets.sync.client import connect


def main() -> None:
    parser = argparse.ArgumentParser(description="Print what is found in pictures.")
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("--url", default="ws://localhost:8080/v1/stream")
    parser.add_argument("--confidence", type=float, default=0.25)
    wishes = parser.parse_args()

    setup = {"options": {"confidence": wishes.confidence}}
    if key := os.environ.get("LOOKONCE_KEY"):
        setup["key"] = key

    with connect(wishes.url, compression=None) as socket:
        socket.send(json.dumps(setup))
        ready = json.loads(socket.recv())
        if "error" in ready:
            raise SystemExit(ready["error"]["detail"])
        for picture in wishes.pictures:
            socket.send(picture.read_bytes())
            answer = json.loads(socket.recv())
            if "error" in answer:
                print(f"{picture}: {answer['error']['detail']}")
                continue
            print(f"{picture}: {len(answer['detections'])} found")
            for found in answer["detections"]:
                x1, y1, x2, y2 = (round(found["box"][side]) for side in ("x1", "y1", "x2", "y2"))
                print(f"  {found['label']} {found['confidence']:.2f} at {x1},{y1} to {x2},{y2}")


if __name__ == "__main__":
    main()
