#!/usr/bin/env bash
# Build SeaweedFS, an S3 server that is no simulation, unless it is built already, and print where it is.
# Needs Go, and 6.5 minutes of processor time the first time. Kept in the user's cache, by version.
set -euo pipefail
version=v0.0.0-20261109003541-7506e5f91cd6
folder=${XDG_CACHE_HOME:-$HOME/.cache}/tracescope/test-tools/seaweedfs-$version
PATH="$PATH:/usr/local/go/bin"
if [ ! -x "$folder/weed" ]; then
    command -v go >/dev/null || { echo "no Go for SeaweedFS" >&2; exit 1; }
    mkdir -p "$folder"
    work=$(mktemp -d "$folder/build-XXXXXX")
    trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
    {
        cd "$work" # `go install` refuses a module that replaces others
        go mod download -json "github.com/seaweedfs/seaweedfs@$version" >module.json
        cp -r "$(sed -n 's/.*"Dir": "\(.*\)".*/\1/p' module.json)" source
        chmod -R u+w source
        cd source
        CGO_ENABLED=0 go build -p "${GO_JOBS:-2}" -o ../weed ./weed
    } >&2
    mv "$work/weed" "$folder/weed"
fi
printf '%s\n' "$folder/weed"
