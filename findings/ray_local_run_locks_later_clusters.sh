#!/usr/bin/env bash
# Ray: after one local run, a cluster started by `ray start` refuses a plain `ray.init(address=...)`.
#
# Guess: a local `ray.init()` that has ended leaves nothing that matters, so that a head node started
#   by `ray start` afterwards takes a client of the same user on the same machine, as it does before.
# Seen (ray 2.60.0, Python 3.11): the local run writes ~/.ray/auth_token. `ray start` finds it and asks
#   every client for it; a client that calls `ray.init(address=...)` shows it only if RAY_AUTH_MODE is
#   `token` in its environment, and is refused otherwise. A client in that mode is taken by a cluster
#   without a token too.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ray==2.60.0
export HOME="$folder" RAY_USAGE_STATS_ENABLED=0
unset RAY_AUTH_MODE RAY_AUTH_TOKEN RAY_AUTH_TOKEN_PATH
cd "$folder"
cat > client.py <<'PYTHON'
import sys

import ray

try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level="CRITICAL")
except ConnectionError as error:
    print("refused:", str(error).splitlines()[0])
else:
    print("taken")
PYTHON
try() {  # mode of the cluster, then of the client
    port=$("$folder/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    env ${1:+RAY_AUTH_MODE=$1} "$folder/venv/bin/ray" start --head --port="$port" --num-cpus=1 --include-dashboard=false >cluster.log 2>&1
    env ${2:+RAY_AUTH_MODE=$2} "$folder/venv/bin/python" client.py "127.0.0.1:$port" 2>client.log
    "$folder/venv/bin/ray" stop --force >stop.log 2>&1
}
"$folder/venv/bin/python" -c 'import ray, sys; print("python", sys.version.split()[0], "ray", ray.__version__)'
before=$(try "" "")
echo "before any local run: $before"
"$folder/venv/bin/python" -c 'import ray; ray.init(num_cpus=1, include_dashboard=False, logging_level="ERROR"); ray.shutdown()' 2>local.log
echo "left by a local run: $(cd "$HOME" && ls .ray)"
after=$(try "" "")
echo "after it: $after"
told=$(try "" token)
echo "after it, RAY_AUTH_MODE=token for the client: $told"
open=$(try disabled token)
echo "that client, and a cluster without a token: $open"
[[ $before == taken && $after == refused* && $told == taken && $open == taken ]]
