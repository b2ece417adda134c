#!/bin/sh
# Makes what docker/compose.yaml mounts as secrets, once: docker/secrets/, which git and the image leave out.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
chmod 700 secrets
cd secrets

random() { head -c "$1" /dev/urandom | base64 | tr -d '\n' | tr '+/' '-_'; }

keep() { # NAME VALUE: written only when it is not there yet
  [ -s "$1" ] || printf '%s' "$2" >"$1"
}

keep postgres_password "$(random 24 | tr -d '=')"
keep database_url "postgresql://aindusdb:$(cat postgres_password)@postgres:5432/aindusdb"
keep secret_key "$(random 48)"
# A Fernet key: 32 bytes in URL-safe base 64.
keep encryption_keys "$(random 32)"
# Compose mounts the files as they are, for uid 1000; the folder keeps everybody else out.
chmod 644 ./*
echo "docker/secrets is ready."
