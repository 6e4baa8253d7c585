#!/usr/bin/env bash
# Bring Mermaid's and Structurizr's own parsers, for tests of the exports; prints the folder they are in.
# What is not to be had is left out, and the tests that need it say so.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
to=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/tracescope/test-tools}
mkdir -p "$to"
cp "$here/package.json" "$here/pom.xml" "$here/parse.mjs" "$to"
cd "$to"
if command -v npm >/dev/null && [ ! -d node_modules/mermaid ]; then
  npm install --ignore-scripts --no-audit --no-fund --silent >&2 || rm -rf node_modules
fi
if command -v mvn >/dev/null && ! compgen -G 'jars/structurizr-dsl-*.jar' >/dev/null; then
  mvn -q -B dependency:copy-dependencies -DoutputDirectory=jars >&2 || rm -rf jars
fi
printf '%s\n' "$to"
