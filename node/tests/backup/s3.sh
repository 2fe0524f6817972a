#!/usr/bin/env bash
# Backups in an object store, against moto on loopback: by hand, verified, refused when damaged or foreign, restored, and
# on a schedule that keeps the last two. Usage: s3.sh path/to/meridian
set -euo pipefail

binary=$(realpath "${1:?say which meridian binary}")
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
pids=()
cleanup() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap cleanup EXIT

skip() { echo "SKIPPED backups in S3: $1"; exit 0; }

venv=${MOTO_VENV:-"$here/../../../target/moto-venv"}
if [ ! -x "$venv/bin/moto_server" ]; then
    python3 -m venv "$venv" 2>"$work/venv.log" || skip "no Python venv: $(tail -1 "$work/venv.log")"
    "$venv/bin/pip" install --quiet --disable-pip-version-check 'moto[server,s3]>=5,<6' 2>"$work/pip.log" ||
        skip "moto is not installable: $(tail -1 "$work/pip.log")"
fi

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# Asks until it works, for at most a minute.
until_ok() {
    for _ in $(seq 300); do "$@" >"$work/last.log" 2>&1 && return 0; sleep 0.2; done
    echo "not within a minute: $*" >&2
    cat "$work/last.log" >&2
    return 1
}

# The command fails, and says this.
refused() {
    local said=$1
    shift
    if "$@" >"$work/refused.log" 2>&1; then echo "was not refused: $*" >&2; exit 1; fi
    grep -qF "$said" "$work/refused.log" || { echo "does not say '$said':" >&2; cat "$work/refused.log" >&2; exit 1; }
}

s3=$(free_port)
"$venv/bin/moto_server" -H 127.0.0.1 -p "$s3" >"$work/moto.log" 2>&1 &
pids+=($!)
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-east-1
export AWS_ENDPOINT="http://127.0.0.1:$s3" AWS_ALLOW_HTTP=true
bucket() {
    "$venv/bin/python" - "$@" <<'PY'
import os, sys, boto3
s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT"], region_name="us-east-1")
what, args = sys.argv[1], sys.argv[2:]
if what == "make":
    s3.create_bucket(Bucket="backups")
elif what == "list":
    found = s3.list_objects_v2(Bucket="backups", Prefix=args[0]).get("Contents", [])
    print("\n".join(sorted(o["Key"] for o in found)))
elif what == "get":
    s3.download_file("backups", args[0], args[1])
elif what == "put":
    s3.upload_file(args[0], "backups", args[1])
PY
}
until_ok bucket make

grpc=$(free_port) peer=$(free_port) http=$(free_port) admin=$(free_port)
export MERIDIAN_ENDPOINTS="127.0.0.1:$grpc" MERIDIAN_TOKEN=operator-of-the-backup-test
hash=$(printf %s "$MERIDIAN_TOKEN" | sha256sum | cut -d' ' -f1)
config() {
    cat <<TOML
cluster_id = "$1"
node_id = 1
region = "us-east"
zone = "a"
data_dir = "$work/$2"
[listen]
grpc = "127.0.0.1:$grpc"
peer = "127.0.0.1:$peer"
http = "127.0.0.1:$http"
admin = "127.0.0.1:$admin"
[auth]
operator_token_sha256 = ["$hash"]
[[founders]]
node_id = 1
region = "us-east"
zone = "a"
peer = "127.0.0.1:$peer"
grpc = "127.0.0.1:$grpc"
TOML
}
serve() {
    "$binary" serve --config "$1" 2>"$work/serve.log" &
    node=$!
    pids+=("$node")
    until_ok curl --silent --fail "http://127.0.0.1:$admin/readyz"
}
stop() { kill "$node"; wait "$node" || true; }

config acme data >"$work/node.toml"
printf '[backup]\nurl = "s3://backups/scheduled"\ninterval_ms = 1000\nkeep = 2\n' >>"$work/node.toml"
serve "$work/node.toml"
until_ok "$binary" project create shop
"$binary" env create shop/live
# Together larger than one part of an upload.
for n in 1 2 3 4 5 6; do
    python3 -c 'import json, os, sys; print(json.dumps({"n": int(sys.argv[1]), "padding": os.urandom(1900000).hex()}))' "$n" >"$work/$n.json"
    "$binary" publish shop/live "$work/$n.json" --format json
done

echo "== by hand"
"$binary" backup s3://backups/by-hand/one
"$binary" backup verify s3://backups/by-hand/one
refused "exists" "$binary" backup s3://backups/by-hand/one
"$binary" backup s3://backups/by-hand/one --overwrite
refused "cannot" "$binary" backup s3://no-such-bucket/one
"$binary" backup "$work/local"
"$binary" backup verify "file://$work/local"

echo "== on a schedule, the last two kept"
taken() { curl --silent "http://127.0.0.1:$admin/metrics" | grep -q '^meridian_backup_last_success_seconds [1-9]'; }
until_ok taken
# Long enough for several more; then nothing changes while it is looked at.
sleep 6
stop
kept=$(bucket list scheduled/)
echo "$kept"
[ "$(wc -l <<<"$kept")" -le 2 ]
"$binary" backup verify "s3://backups/$(tail -1 <<<"$kept")"

echo "== damaged and foreign ones"
bucket get by-hand/one "$work/whole"
head -c 1000000 "$work/whole" >"$work/cut"
bucket put "$work/cut" by-hand/cut
refused "damaged" "$binary" backup verify s3://backups/by-hand/cut
config acme restored >"$work/restored.toml"
refused "damaged" "$binary" restore s3://backups/by-hand/cut --config "$work/restored.toml"
config other elsewhere >"$work/other.toml"
refused 'is of cluster "acme"' "$binary" restore s3://backups/by-hand/one --config "$work/other.toml"
refused "holds a node's data" "$binary" restore s3://backups/by-hand/one --config "$work/node.toml"
[ ! -e "$work/elsewhere" ]

echo "== restored"
"$binary" restore s3://backups/by-hand/one --config "$work/restored.toml"
serve "$work/restored.toml"
"$binary" get shop/live | cmp - "$work/6.json"
"$binary" get shop/live --version 1 | cmp - "$work/1.json"
until_ok "$binary" publish shop/live "$work/1.json" --format json --message "after the restore"
"$binary" history shop/live --limit 1 --output json | grep -q '"version":7'
stop
echo "OK: backups in S3"
