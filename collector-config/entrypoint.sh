#!/bin/sh
# Start tracescope with the kernels that the image was built with.  They are copied, because compiled
# code is only read from a folder that can be written, and the image's own file system may be read-only.
set -eu
kernels=${IMAGE_CACHE:-/opt/tracescope/cache}
if [ -d "$kernels" ] && [ ! -e "$XDG_CACHE_HOME/tracescope" ]; then
    mkdir -p "$XDG_CACHE_HOME"
    cp -R "$kernels/." "$XDG_CACHE_HOME/"
fi
exec tracescope "$@"
