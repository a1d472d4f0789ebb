#!/usr/bin/env bash
# Installs the real services that the tests of storage and server run against:
#   versitygw        an S3 gateway (Apache-2.0), built with Go into FOLDER
#   pebble           an ACME server (MPL-2.0), built with Go into FOLDER
#   nginx, rclone    from the system's packages, with nginx's WebDAV module
#   sshd             OpenSSH's SFTP server, from the system's packages
# and, with --gs, for gs:
#   fake-gcs-server  Google Cloud Storage in memory (BSD-2-Clause), built with Go into FOLDER
# and, with --clouds, that one and, for azblob:
#   azurite          Azure Blob Storage in memory (MIT), with npm into FOLDER/azurite
# What is there already stays. usage: scripts/install-peers.sh [--gs | --clouds] FOLDER;
# then put FOLDER into PATH, and set CAPSTAN_AZURITE=FOLDER/azurite.
set -euo pipefail
clouds=
case "${1:-}" in
--gs | --clouds)
	clouds=$1
	shift
	;;
esac
folder=$(mkdir -p "${1:?usage: install-peers.sh [--gs | --clouds] FOLDER}" && cd "$1" && pwd)

# from_source MODULE@VERSION: builds a program outside of any module, since its
# dependencies are none of ours.
from_source() {
	local name dir
	name=$(basename "${1%@*}")
	if ! [ -x "$folder/$name" ]; then
		dir=$(mktemp -d)
		(cd "$dir" && GOWORK=off GOBIN="$folder" GOFLAGS=-mod=mod CGO_ENABLED=0 go install "$1")
		rm -rf "$dir"
	fi
}

# Debian, Ubuntu and their kin; elsewhere the tests that miss one say so.
absent=
[ -x /usr/sbin/sshd ] && command -v ssh-agent >/dev/null || absent="$absent openssh-server openssh-client openssh-sftp-server"
command -v rclone >/dev/null || absent="$absent rclone"
[ -x /usr/sbin/nginx ] || command -v nginx >/dev/null || absent="$absent nginx-light"
if [ -n "$absent" ] && command -v apt-get >/dev/null; then
	sudo=
	[ "$(id -u)" = 0 ] || sudo=sudo
	$sudo apt-get update -qq
	# shellcheck disable=SC2086 # a list of packages
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $absent >/dev/null
elif [ -n "$absent" ]; then
	echo "not installed, for lack of apt-get:$absent" >&2
fi

from_source github.com/versity/versitygw/cmd/versitygw@v1.8.0
"$folder/versitygw" --version
from_source github.com/letsencrypt/pebble/v2/cmd/pebble@v2.10.1
if [ -n "$clouds" ]; then
	from_source github.com/fsouza/fake-gcs-server@v1.56.1
fi
if [ "$clouds" = --clouds ]; then
	if ! [ -x "$folder/azurite/node_modules/.bin/azurite-blob" ]; then
		mkdir -p "$folder/azurite"
		(cd "$folder/azurite" && npm install --ignore-scripts --no-audit --no-fund --silent azurite@3.35.0)
	fi
fi
