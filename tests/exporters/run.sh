#!/usr/bin/env bash
# Files from real exporters: made in an environment of their own, then brought through the forge.
set -euo pipefail
cd "$(dirname "$0")/../.."
wants="tests/exporters/requirements.txt tests/exporters/without_dependencies.txt"
home=.exporters
# shellcheck disable=SC2086
if ! cat $wants | cmp --silent - "$home/made"; then
    echo "Making $home (once, a minute or two)…"
    rm -rf "$home"
    "${PYTHON:-.venv/bin/python}" -m venv "$home/venv"
    "$home/venv/bin/pip" install --quiet --requirement tests/exporters/requirements.txt
    "$home/venv/bin/pip" install --quiet --no-deps --no-build-isolation \
        --requirement tests/exporters/without_dependencies.txt
    cat $wants > "$home/made"
fi
rm -rf "$home/files"
"$home/venv/bin/python" tests/exporters/export.py "$home/files"
LOOKONCE_EXPORTS="$PWD/$home/files" .venv/bin/pytest tests/exporters "$@"
