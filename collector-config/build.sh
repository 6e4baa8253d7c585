#!/usr/bin/env bash
# Build the Collector of builder.yaml, unless it is built already, and print where it is.
#
# Needs Go; some minutes of processor time and a gigabyte of memory the first time.  The result is
# kept by the manifest's hash in ${XDG_CACHE_HOME:-~/.cache}/tracescope, so a changed manifest is
# built anew and an unchanged one never is.  `build.sh --path` only prints where it is, or would be.
set -euo pipefail
manifest="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/builder.yaml"
version=$(sed -n 's/^  version: //p' "$manifest")
folder="${XDG_CACHE_HOME:-$HOME/.cache}/tracescope/otelcol-$(sha256sum "$manifest" | cut -c1-16)"
binary="$folder/otelcol-tracescope"

if [ "${1:-}" = --path ] || [ -x "$binary" ]; then
    printf '%s\n' "$binary"
    exit
fi
PATH="$PATH:/usr/local/go/bin"
if ! command -v go >/dev/null; then
    echo "build.sh: there is no Go; install it, or put a Collector with these parts at $binary" >&2
    exit 1
fi

mkdir -p "$folder"
exec 9>"$folder/lock"
flock 9 # another build of the same manifest may be running
if [ ! -x "$binary" ]; then
    work=$(mktemp -d "$folder/build-XXXXXX")
    trap 'rm -rf "$work"' EXIT
    {
        GOBIN="$work" go install "go.opentelemetry.io/collector/cmd/builder@v$version"
        cp "$manifest" "$work/builder.yaml"
        cd "$work" # the manifest's output path is relative
        CGO_ENABLED=0 ./builder --config builder.yaml
    } >&2
    mv "$work/dist/otelcol-tracescope" "$binary"
fi
printf '%s\n' "$binary"
