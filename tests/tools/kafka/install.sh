#!/usr/bin/env bash
# The jars of an Apache Kafka broker, which tests run on loopback; prints their folder.
# They are kept in the user's cache, by version. Needs Java 17 and Maven.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=$(sed -n 's/ *<version>\([0-9.]*\.[0-9.]*\)<.*/\1/p' "$here/pom.xml")
folder=${XDG_CACHE_HOME:-$HOME/.cache}/tracescope/test-tools/kafka-$version
if [ ! -e "$folder/complete" ]; then
    command -v java >/dev/null && command -v mvn >/dev/null || { echo "no Java or Maven for Kafka" >&2; exit 1; }
    mkdir -p "$folder"
    mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$folder" >&2
    touch "$folder/complete"
fi
printf '%s\n' "$folder"
