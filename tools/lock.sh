#!/usr/bin/env bash
# Writes every lock anew. Needs uv on PATH.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() { uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make locks" "$@"; }
compile pyproject.toml --extra dev --output-file locks/dev.txt
compile locks/triton.in --output-file service/lookonce/local/triton.lock
compile tests/clients/requirements.in --output-file tests/clients/requirements.txt
