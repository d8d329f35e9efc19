#!/usr/bin/env bash
# Puts twinpath on the path of the job's later steps: a release of this action's repository, checked
# against its sha256, or a build of its source.
#
#   INPUT_VERSION   v0.1.0, latest, source, or installed, for a twinpath that is there already
set -euo pipefail

version=${INPUT_VERSION:-latest}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bin=${RUNNER_TEMP:?}/twinpath-bin
fail() { echo "::error title=twinpath::$1" && exit 2; }

case $version in
installed)
    command -v twinpath >/dev/null || fail "version: installed, but there is no twinpath on the path"
    exit 0
    ;;
source)
    # Elsewhere than the job's own target folder, with this repository's lock file.
    cargo install --locked --quiet --path "$here/replay" --root "$bin"
    bin=$bin/bin
    ;;
latest | v[0-9]*)
    [[ $version =~ ^(latest|v[0-9]+(\.[0-9]+)*(-[0-9A-Za-z.]+)?)$ ]] || fail "version: no version of that form"
    [ "$(uname -s)" = Linux ] || fail "releases are for Linux; use version: source"
    # GITHUB_ACTION_REPOSITORY is empty where the action is used by its path.
    repository=${GITHUB_ACTION_REPOSITORY:-twinpath/twinpath}
    releases=${GITHUB_SERVER_URL:-https://github.com}/$repository/releases
    if [ "$version" = latest ]; then
        version=$(curl -fsSIL -o /dev/null -w '%{url_effective}' "$releases/latest") ||
            fail "version: latest: there is no release at $releases; use version: source"
        version=${version##*/}
    fi
    name=twinpath-${version#v}-$(uname -m)-linux-musl
    mkdir -p "$bin" && cd "$bin"
    curl -fsSL --retry 3 -O "$releases/download/$version/$name.tar.gz" -O "$releases/download/$version/$name.tar.gz.sha256" ||
        fail "version: $version: no $name.tar.gz with its sha256 at $releases; use version: source"
    sha256sum --check --quiet "$name.tar.gz.sha256" || fail "$name.tar.gz is not what its sha256 says"
    tar -xzf "$name.tar.gz" --strip-components=1 "$name/twinpath"
    ;;
*) fail "version: give v0.1.0, latest, source or installed" ;;
esac
echo "$bin" >>"$GITHUB_PATH"
