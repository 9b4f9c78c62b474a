#!/usr/bin/env bash
# Builds the image of docs/deploy/Dockerfile without a registry and without a container daemon: `sudo
# docs/deploy/local-image.sh [DIR]`. The bases are Debian by debootstrap, and the same with a C compiler and the Rust toolchain of
# this machine, mounted. Needs debootstrap and buildah; then runs the image's `prl --version` and a server.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
dir=$(realpath -m "${1:-target/image}")
mkdir -p "$dir"
export BUILDAH_ISOLATION=chroot STORAGE_DRIVER=vfs
buildah() { command buildah --root "$dir/storage" --runroot "$dir/run" "$@"; }

base() { # NAME PACKAGES: an image of a minimal Debian
  if [[ ! -d $dir/$1 ]]; then
    rm -rf "$dir/$1.new"
    debootstrap --variant=minbase ${2:+--include="$2"} bookworm "$dir/$1.new"
    mv -T "$dir/$1.new" "$dir/$1"
  fi
  container=$(buildah from scratch)
  buildah copy --quiet "$container" "$dir/$1" / >/dev/null
  buildah config --env PATH=/root/.cargo/bin:/usr/local/bin:/usr/bin:/bin --env RUSTUP_TOOLCHAIN="${RUSTUP_TOOLCHAIN:-stable}" "$container"
  buildah commit --quiet --rm "$container" "localhost/$1" >/dev/null
}
base prl-base ''
base prl-build-base gcc,libc6-dev,ca-certificates

rust=${CARGO_HOME:-$HOME/.cargo}
buildah build --file docs/deploy/Dockerfile --tag localhost/prl \
  --build-arg BUILD_BASE=localhost/prl-build-base --build-arg BASE=localhost/prl-base \
  --volume "$rust:/root/.cargo" --volume "${RUSTUP_HOME:-$HOME/.rustup}:/root/.rustup:ro" .

container=$(buildah from localhost/prl)
trap 'buildah rm "$container" >/dev/null' EXIT
buildah run "$container" -- prl --version
buildah inspect --type image --format '{{.OCIv1.Config.User}} {{.OCIv1.Config.Entrypoint}}' localhost/prl
du -sh "$(buildah mount "$container")" | cut -f 1
