#!/usr/bin/env bash
# usage: run.sh URL      Runs clients from the registries against a Logstack engine.
#
# The engine keeps its data for nobody: start it on an empty folder, with auth_enabled: false and delete requests on.
# CLIENTS_DIR is where the clients are installed; it is used again. Exit codes: 0 all work, 1 one does not, 77 offline.
set -euo pipefail
url=${1:?usage: run.sh URL}
here=$(cd "$(dirname "$0")" && pwd)
dir=${CLIENTS_DIR:-$here/../../target/clients}
mkdir -p "$dir"
dir=$(realpath "$dir")

if [ ! -x "$dir/venv/bin/schemathesis" ]; then
  python3 -m venv "$dir/venv"
  "$dir/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt" || exit 77
fi
cp "$here/package.json" "$here/winston.js" "$dir/"
if [ ! -d "$dir/node_modules/winston-loki" ]; then
  (cd "$dir" && npm install --silent --no-audit --no-fund) || exit 77
fi

"$dir/venv/bin/python" "$here/python_clients.py" "$url"
(cd "$dir" && node winston.js "$url")

# What the description says must hold for any request it allows. The routes that end the process or never end themselves
# are left out. It leaves a folder of its own where it runs.
here=$(realpath "$here")
cd "$dir"
"$dir/venv/bin/schemathesis" run "$here/../../docs/openapi.yaml" --url "$url" \
  --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
  --exclude-path /ingester/shutdown --exclude-path /loki/api/v1/tail --exclude-path /api/prom/tail \
  --max-examples "${EXAMPLES:-20}" --seed 1 --no-color
