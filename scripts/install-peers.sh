#!/usr/bin/env bash
# Installs the real services that the storage tests run against:
#   versitygw  an S3 gateway (Apache-2.0), built with Go into FOLDER
#   sshd       OpenSSH's SFTP server, from the system's packages
# usage: scripts/install-peers.sh FOLDER; then put FOLDER into PATH
set -euo pipefail
folder=$(mkdir -p "${1:?usage: install-peers.sh FOLDER}" && cd "$1" && pwd)

if ! [ -x "$folder/versitygw" ]; then
	# Outside of the module: the gateway's dependencies are none of ours.
	(cd "$folder" && GOBIN="$folder" GOFLAGS=-mod=mod CGO_ENABLED=0 go install github.com/versity/versitygw/cmd/versitygw@v1.8.0)
fi
"$folder/versitygw" --version

if ! [ -x /usr/sbin/sshd ]; then
	sudo=
	[ "$(id -u)" = 0 ] || sudo=sudo
	$sudo apt-get update -qq
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends openssh-server openssh-client openssh-sftp-server >/dev/null
fi
/usr/sbin/sshd -V 2>&1 || true
