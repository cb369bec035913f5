#!/usr/bin/env bash
# Tries what a newcomer does: clones this checkout, installs, starts, pastes the printed curl line, presses
# Ctrl-C. As the caller below a directory of mode 700, twice on the same data, two checkouts at once, with
# npm 10, and, when the caller is root, as an ordinary user. What is not committed is tried too.
# Prints one line per case and exits with the number of failures. Nothing is left behind.
set -uo pipefail

source=$(cd "$(dirname "$0")/.." && git rev-parse --show-toplevel)
work=$(mktemp -d)
home=$(mktemp -d)
user=
failures=0

cleanup() {
  local data files
  for data in "$work"/*/.data "$home"/*/.data; do
    files=$(readlink -f "$data/postgres") || continue
    # Where root keeps what Postgres, under another account, cannot reach in the checkout.
    [[ $files == /var/lib/parley/data/* ]] && rm -rf "$files"
  done
  [[ -n $user ]] && userdel "$user"
  rm -rf "$work" "$home"
}
trap cleanup EXIT

report() { # case, what is wrong (empty: nothing), what was measured
  if [[ -z $2 ]]; then
    echo "ok      $1 ($3)"
  else
    echo "FAILED  $1: $2"
    failures=$((failures + 1))
  fi
}

as() { # user (empty: the caller), command …
  local who=$1
  shift
  if [[ -z $who ]]; then "$@"; else setpriv --reuid "$who" --regid "$who" --init-groups env HOME="$home" "$@"; fi
}

free_port() {
  node -e 'const s = require("net").createServer().listen(0, () => { console.log(s.address().port); s.close(); })'
}

# npm and the program work in the checkout, Postgres in its part of the data directory.
processes_of() { # directory
  local data process cwd
  data=$(readlink -f "$1/.data/postgres")
  for process in /proc/[0-9]*; do
    cwd=$(readlink "$process/cwd" 2>/dev/null) || continue
    [[ $cwd == "$1" || $cwd == "$1"/* || (-n $data && $cwd == "$data"*) ]] && echo "${process#/proc/}"
  done
}

# Clones the committed state and lays over it what is changed but not committed.
checkout() { # directory
  git clone --quiet "$source" "$1" && git -C "$source" diff --binary HEAD | git -C "$1" apply --allow-empty
}

install() { # user, directory, npm command …
  local who=$1 directory=$2
  shift 2
  checkout "$directory" || { echo "git clone failed"; return; }
  [[ -n $who ]] && chown -R "$who:" "$directory"
  (cd "$directory" && as "$who" "$@" ci >"$directory.log" 2>&1) || echo "npm ci failed: $(tail -5 "$directory.log")"
}

# Prints what is wrong, or nothing, and leaves the seconds until /readyz in <directory>.seconds.
start_and_stop() { # user, directory, position that the curl line's message must get
  local port began=$SECONDS line answer
  port=$(free_port)
  # A session of its own, because Ctrl-C goes to everything that a terminal started for the command.
  # shellcheck disable=SC2016 # expanded by the inner shell
  (cd "$2" && PORT=$port as "$1" setsid bash -c 'echo $$ >.pid && exec npm start' >"$2.log" 2>&1) &
  until [[ $(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$port/readyz") == 200 ]]; do
    ((SECONDS - began < 60)) || { echo "/readyz is not 200 after 60 s: $(tail -5 "$2.log")"; break; }
    sleep 0.2
  done
  echo $((SECONDS - began)) >"$2.seconds"
  until line=$(grep -E '^ *curl ' "$2.log") || ((SECONDS - began > 60)); do sleep 0.2; done
  answer=$(bash -c "$line" 2>&1)
  [[ $answer == *"\"position\":$3,"* ]] || echo "the curl line answered: $answer"

  began=$SECONDS
  kill -INT -- "-$(cat "$2/.pid")"
  while [[ -n $(processes_of "$2") ]]; do
    if ((SECONDS - began > 30)); then
      echo "left behind: $(processes_of "$2" | xargs ps -o pid=,args= -p | cut -c1-80 | tr '\n' ';')"
      processes_of "$2" | xargs kill -KILL
      break
    fi
    sleep 0.2
  done
  wait
}

try() { # case, user, directory, npm command …
  local name=$1 who=$2 directory=$3 began=$SECONDS installed fault
  shift 3
  fault=$(install "$who" "$directory" "$@")
  installed=$((SECONDS - began))
  [[ -z $fault ]] && fault=$(start_and_stop "$who" "$directory" 1)
  report "$name" "$fault" "installed in $installed s, ready $(cat "$directory.seconds") s later"
}

first=$work/first
other=$work/other
try "as $(id -un), below a directory of mode $(stat -c %a "$work")" '' "$first" npm

fault=$(start_and_stop '' "$first" 2)
report "a second start finds the data of the first" "$fault" "ready after $(cat "$first.seconds") s"

cp -a "$first" "$other" && rm -r "$other/.data"
start_and_stop '' "$first" 3 >"$first.fault" &
start_and_stop '' "$other" 1 >"$other.fault"
wait
report "two checkouts at the same time" "$(cat "$first.fault" "$other.fault")" \
  "ready after $(cat "$first.seconds") and $(cat "$other.seconds") s"

try "with npm 10" '' "$work/npm10" npx -y npm@10

if [[ $(id -u) == 0 ]]; then
  user=parley-try-$$
  useradd --home-dir "$home" --shell /bin/bash "$user" && chown "$user:" "$home"
  try "as an ordinary user" "$user" "$home/checkout" npm
fi

exit "$failures"
