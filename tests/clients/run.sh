#!/usr/bin/env bash
# Clients that nobody here wrote, in an environment of their own, against a gateway with the sample model.
set -euo pipefail
cd "$(dirname "$0")/../.."
wants=tests/clients/requirements.txt
home=.clients
if ! cmp --silent "$wants" "$home/made"; then
    echo "Making $home (once, a minute or two)…"
    rm -rf "$home"
    "${PYTHON:-.venv/bin/python}" -m venv "$home/venv"
    "$home/venv/bin/pip" install --quiet --require-hashes --requirement "$wants"
    cp "$wants" "$home/made"
fi
"$home/venv/bin/pytest" --config-file tests/clients/pytest.ini --confcutdir tests/clients tests/clients "$@"
