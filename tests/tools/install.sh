#!/usr/bin/env bash
# Bring Mermaid's and Structurizr's own parsers, for tests of the exports, Compose's own loader, and servers
# of Azure's blobs and of Google's objects; prints the folder they are in.
# What is not to be had is left out, and the tests that need it say so.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
to=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/tracescope/test-tools}
mkdir -p "$to"
cp "$here/package.json" "$here/pom.xml" "$here/parse.mjs" "$to"
cd "$to"
if command -v npm >/dev/null && { [ ! -d node_modules/mermaid ] || [ ! -d node_modules/azurite ]; }; then
  npm install --ignore-scripts --no-audit --no-fund --silent >&2 || rm -rf node_modules
fi
if command -v mvn >/dev/null && ! compgen -G 'jars/structurizr-dsl-*.jar' >/dev/null; then
  mvn -q -B dependency:copy-dependencies -DoutputDirectory=jars >&2 || rm -rf jars
fi
PATH="$PATH:/usr/local/go/bin"
compose=v2.16.2
if command -v go >/dev/null && [ ! -x "compose-$compose/cmd" ]; then
  GOBIN="$to/compose-$compose" go install "github.com/compose-spec/compose-go/v2/cmd@$compose" >&2 || rm -rf "compose-$compose"
fi
gcs=v1.56.1
if command -v go >/dev/null && [ ! -x "gcs-$gcs/fake-gcs-server" ]; then
  GOBIN="$to/gcs-$gcs" go install "github.com/fsouza/fake-gcs-server@$gcs" >&2 || rm -rf "gcs-$gcs"
fi
printf '%s\n' "$to"
