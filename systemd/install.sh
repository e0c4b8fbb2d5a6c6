#!/usr/bin/env bash
# Puts Litewatch on this machine as a service, upgrades it, and takes it away again. docs/install.md.
#
# /opt/litewatch/releases/* are virtual environments, each with the units it was made for;
# /opt/litewatch/current is the one in use. A new release is tried under units in /run, which a pulled
# plug forgets: until it has said READY, the next boot starts the old one.
set -euo pipefail
umask 022

readonly ROOT=/opt/litewatch ETC=/etc/litewatch STATE=/var/lib/private/litewatch
readonly UNITS=/usr/local/lib/systemd/system TRIAL=/run/systemd/system
readonly RULES=/usr/local/lib/udev/rules.d/99-litewatch-coral.rules
readonly TRIAL_RULES=/run/udev/rules.d/99-litewatch-coral.rules
readonly SYSUSERS=/usr/local/lib/sysusers.d/litewatch-coral.conf
readonly COMMAND=/usr/local/bin/litewatch
readonly READY_S=60 NEEDED_MIB=700
SOURCE=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
readonly SOURCE

usage() {
  cat <<'END'
usage: sudo systemd/install.sh [install] [options]   install, or bring to these options
       sudo systemd/install.sh upgrade [options]     try the new version, keep the old one if it fails
       sudo systemd/install.sh rollback              go back to the version before
       sudo systemd/install.sh uninstall [--keep-data]

  --config FILE          copy to /etc/litewatch/agent.yaml
  --bundle FILE          copy to /etc/litewatch/
  --runtime litert|tflite
  --coral, --no-coral    a Coral Edge TPU: udev rules, group, access for the service
  --camera, --no-camera  a camera of this machine: access for the service
  --wheels DIR           take packages from this folder and nowhere else
  --python PROGRAM       default python3
  --keep-data            uninstall: leave /etc/litewatch and the state directory

Options once given are remembered. Exit status 0 ok, 1 failed and undone, 2 wrong usage.
END
}

say() { printf 'litewatch: %s\n' "$*"; }
fail() {
  printf 'litewatch: %s\n' "$1" >&2
  exit "${2:-1}"
}

# --- what is wanted -------------------------------------------------------------------------------

ACTION=install RUNTIME=litert CORAL=no CAMERA=no PYTHON=python3
WHEELS='' CONFIG='' BUNDLE='' KEEP_DATA=no

# Options as the file $1 has them.
remembered() {
  local key value
  [ -r "$1" ] || return 0
  while IFS='=' read -r key value; do
    case $key in
    RUNTIME) RUNTIME=$value ;;
    CORAL) CORAL=$value ;;
    CAMERA) CAMERA=$value ;;
    PYTHON) PYTHON=$value ;;
    esac
  done <"$1"
}

arguments() {
  case ${1:-} in
  install | upgrade | rollback | uninstall) ACTION=$1 && shift ;;
  esac
  while [ $# -gt 0 ]; do
    case $1 in
    --coral) CORAL=yes ;;
    --no-coral) CORAL=no ;;
    --camera) CAMERA=yes ;;
    --no-camera) CAMERA=no ;;
    --keep-data) KEEP_DATA=yes ;;
    --config | --bundle | --wheels | --runtime | --python)
      [ $# -ge 2 ] || fail "$1 needs a value" 2
      # Not `value … && shift`: in a condition bash ignores a failure within.
      value "$1" "$2"
      shift
      ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && fail "unknown: $1" 2 ;;
    esac
    shift
  done
}

value() {
  case $1 in
  --config | --bundle | --wheels) [ -e "$2" ] || fail "$2: no such file" 2 ;;&
  --config) CONFIG=$(readlink -f "$2") ;;
  --bundle) BUNDLE=$(readlink -f "$2") ;;
  --wheels) WHEELS=$(readlink -f "$2") ;;
  --runtime) RUNTIME=$2 ;;
  --python) PYTHON=$2 ;;
  esac
  case $RUNTIME in litert | tflite) ;; *) fail "--runtime: litert or tflite, not $RUNTIME" 2 ;; esac
}

# --- what is there --------------------------------------------------------------------------------

booted() { [ -d /run/systemd/system ]; }
running() { booted && systemctl is-active -q litewatch; }
# One that crashes or has failed is wanted too; only one stopped on purpose is not.
wanted() { booted && [ "$(systemctl show -P ActiveState litewatch)" != inactive ]; }
release_of() { if [ -L "$ROOT/$1" ]; then basename "$(readlink "$ROOT/$1")"; fi; }

prerequisites() {
  [ "$(getconf LONG_BIT)" = 64 ] || fail "needs a 64-bit system: OpenCV has no packages for 32-bit ARM"
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    fail "needs Python 3.11 or newer as $PYTHON: apt install python3"
  "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || fail "needs venv: apt install python3-venv"
  if [ "$RUNTIME" = tflite ]; then
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
      fail "--runtime tflite: tflite-runtime has packages for Python 3.11 only; leave the option out"
  fi
}

room() {
  local free
  mkdir -p "$ROOT"
  free=$(df --output=avail -m "$ROOT" | tail -n 1)
  [ "$free" -ge "$NEEDED_MIB" ] || fail "$ROOT has $free MiB free, a release needs $NEEDED_MIB"
}

# --- releases -------------------------------------------------------------------------------------

constraints() { [ "$RUNTIME" = tflite ] && echo constraints-tflite.txt || echo constraints.txt; }

# The version, and a digest of everything a release is made of.
release_id() {
  local version digest
  version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$SOURCE/pyproject.toml")
  digest=$(
    cd "$SOURCE"
    {
      find agent calibration tools systemd docs pyproject.toml "$(constraints)" -type f \
        ! -path '*/__pycache__/*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
      echo "$RUNTIME"
      "$PYTHON" -c 'import sys; print(sys.implementation.cache_tag, sys.executable)'
    } | sha256sum
  )
  echo "$version-${digest:0:12}"
}

build() {
  local release=$ROOT/releases/$1 staged extras=signing
  local pip=("$release/bin/python" -m pip --disable-pip-version-check)
  local from=(-q --no-cache-dir -c "$SOURCE/$(constraints)")
  [ -f "$release/complete" ] && return
  rm -rf "$release"
  room
  say "building release $1"
  "$PYTHON" -m venv "$release"
  staged=$(mktemp -d)
  # A copy: setuptools writes beside what it builds, and would pack what an earlier build left there.
  (cd "$SOURCE" && tar --exclude=__pycache__ -cf - agent calibration tools pyproject.toml README.md LICENSE) |
    tar -C "$staged" -xf -
  [ "$RUNTIME" = tflite ] && extras=tflite,signing
  [ -n "$WHEELS" ] && from+=(--no-index --find-links "$WHEELS")
  "${pip[@]}" install "${from[@]}" "$staged[$extras]"
  rm -rf "$staged"
  # Its numpy is too old for the other runtime.
  [ "$RUNTIME" = tflite ] && "${pip[@]}" uninstall -q -y ai-edge-litert
  mkdir -p "$release/share/litewatch"
  cp -r "$SOURCE/systemd" "$SOURCE/docs" "$release/share/litewatch/"
  "$release/bin/litewatch" --version >/dev/null
  # What it was built with: a rollback to it wants the next upgrade built so too.
  printf '%s\n' "RUNTIME=$RUNTIME" "PYTHON=$PYTHON" >"$release/options"
  # The card has it before anything points to it.
  sync -f "$ROOT"
  touch "$release/complete"
}

# Everything but the release in use, the one before it and those named.
forget_others() {
  local release id
  for release in "$ROOT"/releases/*; do
    id=$(basename "$release")
    case " $(release_of current) $(release_of previous) $* " in
    *" $id "*) ;;
    *) rm -rf "$release" ;;
    esac
  done
}

point() {
  ln -sfn "releases/$2" "$ROOT/.$1"
  mv -T "$ROOT/.$1" "$ROOT/$1"
}

# --- units ----------------------------------------------------------------------------------------

# A unit is never seen half-written.
place() {
  mkdir -p "$(dirname "$2")"
  cp "$1" "$2.new"
  chmod 644 "$2.new"
  mv "$2.new" "$2"
}

drop_in() {
  local unit
  for unit in "${@:3}"; do
    if [ "$1" = yes ]; then
      place "$2" "$UNITS/$unit.d/$(basename "$2")"
    else
      rm -f "$UNITS/$unit.d/$(basename "$2")"
      rmdir "$UNITS/$unit.d" 2>/dev/null || true
    fi
  done
}

drop_in_is() {
  local placed
  placed=$UNITS/litewatch.service.d/$(basename "$2")
  if [ "$1" = yes ]; then cmp -s "$2" "$placed"; else ! [ -e "$placed" ]; fi
}

# True when the agent's unit and its drop-ins lie there as release $1 and the options want them.
units_are() {
  local from=$ROOT/releases/$1/share/litewatch/systemd
  cmp -s "$from/litewatch.service" "$UNITS/litewatch.service" &&
    drop_in_is "$CORAL" "$from/litewatch-coral.conf" &&
    drop_in_is "$CAMERA" "$from/litewatch-camera.conf"
}

place_units() {
  local from=$ROOT/releases/$1/share/litewatch/systemd unit
  for unit in litewatch.service litewatch-check.service litewatch-check.timer; do
    place "$from/$unit" "$UNITS/$unit"
  done
  drop_in "$CORAL" "$from/litewatch-coral.conf" litewatch.service litewatch-check.service
  drop_in "$CAMERA" "$from/litewatch-camera.conf" litewatch.service
  if [ "$CORAL" = yes ]; then
    place "$from/litewatch-coral.sysusers" "$SYSUSERS"
    place "$from/99-litewatch-coral.rules" "$RULES"
    systemd-sysusers "$SYSUSERS"
    udev_again
  elif [ -e "$RULES" ]; then
    without_coral
  fi
}

without_coral() {
  rm -f "$RULES" "$SYSUSERS"
  if getent group litewatch-tpu >/dev/null; then groupdel litewatch-tpu; fi
  udev_again
}

udev_again() {
  booted && [ -S /run/udev/control ] || return 0
  udevadm control --reload
  udevadm trigger --subsystem-match=usb --subsystem-match=apex
}

reload() { if booted; then systemctl daemon-reload; fi; }

# Make release $1 the one that every later boot starts.
activate() {
  local before
  before=$(release_of current)
  place_units "$1"
  point current "$1"
  if [ -n "$before" ] && [ "$before" != "$1" ]; then point previous "$before"; fi
  mkdir -p "$(dirname "$COMMAND")"
  ln -sfn "$ROOT/current/bin/litewatch" "$COMMAND"
  printf '%s\n' "RUNTIME=$RUNTIME" "CORAL=$CORAL" "CAMERA=$CAMERA" "PYTHON=$PYTHON" >"$ROOT/options"
  sync -f "$ROOT"
  reload
  systemctl -q enable litewatch.service litewatch-check.timer
  if booted; then systemctl start litewatch-check.timer; fi
}

# --- the service ----------------------------------------------------------------------------------

# Stop, and start without the pause that earlier failures earned; true when it is READY in time.
restart_ready() {
  systemctl stop litewatch
  rm -f "$STATE/restarts"
  timeout "$READY_S" systemctl start litewatch && running
}

why() { journalctl -u litewatch -n 40 --no-pager -o cat --since "$1" 2>/dev/null | sed 's/^/    /' >&2; }

# A drop-in of the trial hides that of the same name in $UNITS.
trial_drop_in() {
  local to
  to=$TRIAL/litewatch.service.d/$(basename "$2")
  if [ "$1" = yes ]; then place "$2" "$to"; else ln -sfn /dev/null "$to"; fi
}

trial_begins() {
  local release=$ROOT/releases/$1
  local from=$release/share/litewatch/systemd
  mkdir -p "$TRIAL/litewatch.service.d"
  sed "s|$ROOT/current/|$release/|g" "$from/litewatch.service" >"$TRIAL/litewatch.service"
  trial_drop_in "$CORAL" "$from/litewatch-coral.conf"
  trial_drop_in "$CAMERA" "$from/litewatch-camera.conf"
  if [ "$CORAL" = yes ]; then
    systemd-sysusers "$from/litewatch-coral.sysusers"
    place "$from/99-litewatch-coral.rules" "$TRIAL_RULES"
    udev_again
  fi
  # On trial an agent whose golden inputs come out wrong ends before it is READY.
  printf '[Service]\nEnvironment=LITEWATCH_ON_TRIAL=1\n' >"$TRIAL/litewatch.service.d/on-trial.conf"
  put_files
  systemctl daemon-reload
}

trial_ends() {
  if [ -e "$TRIAL/litewatch.service" ] || [ -e "$TRIAL_RULES" ]; then
    rm -f "$TRIAL/litewatch.service" "$TRIAL"/litewatch.service.d/litewatch-{coral,camera}.conf{,.new}
    rm -f "$TRIAL_RULES" "$TRIAL/litewatch.service.d/on-trial.conf"
    rmdir "$TRIAL/litewatch.service.d" "${TRIAL_RULES%/*}" 2>/dev/null || true
    systemctl daemon-reload
  fi
}

undo() {
  trap - EXIT INT TERM HUP
  trial_ends
  take_files_back
  # The trial's, not that of what comes back.
  if [ "$CORAL" = yes ] && ! [ -e "$RULES" ]; then without_coral || true; fi
  if restart_ready; then
    say "$(release_of current) is back and READY" >&2
  else
    say "$(release_of current) is back, but not READY either: journalctl -u litewatch" >&2
  fi
  forget_others
  exit 1
}

# Run release $1 for as long as it takes to be READY; keep it, or go back to the one in use.
try() {
  local since
  since=$(date '+%Y-%m-%d %H:%M:%S.%6N')
  say "trying release $1"
  trap 'say "interrupted: going back" >&2; undo' INT TERM HUP
  # Whatever else ends this script.
  trap 'undo' EXIT
  trial_begins "$1"
  if restart_ready; then
    trap '' INT TERM HUP
    trap - EXIT
    activate "$1"
    trial_ends
    trap - INT TERM HUP
    say "release $1 is READY"
    return
  fi
  say "release $1 was not READY within $READY_S s:" >&2
  why "$since"
  undo
}

switch_to() {
  # New units need a restart as much as a new release does.
  if wanted && { [ "$1" != "$(release_of current)" ] || ! units_are "$1"; }; then
    try "$1"
    return
  fi
  put_files
  if [ "${#PUT[@]}" -gt 0 ] && running; then systemctl reload litewatch; fi
  activate "$1"
  if [ "$ACTION" != install ] && booted && ! wanted; then
    say "release $1 is in place; the service was stopped and stays so"
    forget_others
    exit 0
  fi
}

begin() {
  local since
  if ! booted; then
    say "installed; it starts when this system is booted"
  elif ! [ -e "$ETC/agent.yaml" ]; then
    say "installed; write $ETC/agent.yaml ($ETC/agent.example.yaml shows one), then:"
    say "  litewatch config $ETC/agent.yaml && systemctl start litewatch"
  else
    since=$(date '+%Y-%m-%d %H:%M:%S.%6N')
    if running || restart_ready; then
      say "running: $(systemctl show -P StatusText litewatch)"
    else
      why "$since"
      fail "installed, but not READY within $READY_S s: litewatch doctor -c $ETC/agent.yaml"
    fi
  fi
}

# --- files ----------------------------------------------------------------------------------------

# Files that put has changed; each one's earlier content is beside it as .old, if it was there.
PUT=()

# $1 to $2. The copy is made first: $1 may be $2.old.
put() {
  if cmp -s "$1" "$2"; then return; fi
  if ! cp "$1" "$2.new"; then rm -f "$2.new" && fail "$2 cannot be written"; fi
  chmod 644 "$2.new"
  if [ -e "$2" ]; then cp -p "$2" "$2.old"; else rm -f "$2.old"; fi
  PUT+=("$2")
  mv "$2.new" "$2"
}

put_files() {
  if [ -n "$BUNDLE" ]; then put "$BUNDLE" "$ETC/$(basename "$BUNDLE")"; fi
  if [ -n "$CONFIG" ]; then put "$CONFIG" "$ETC/agent.yaml"; fi
}

take_files_back() {
  local file
  for file in "${PUT[@]}"; do
    rm -f "$file.new"
    if [ -e "$file.old" ]; then mv "$file.old" "$file"; else rm -f "$file"; fi
  done
}

folders() {
  mkdir -p "$ETC"
  install -d -m 700 "$ETC/secrets"
  place "$SOURCE/systemd/agent.example.yaml" "$ETC/agent.example.yaml"
}

# --- actions --------------------------------------------------------------------------------------

install_or_upgrade() {
  local id
  prerequisites
  id=$(release_id)
  if [ "$ACTION" = upgrade ] && [ -z "$(release_of current)" ]; then fail "nothing is installed yet" 2; fi
  forget_others "$id"
  build "$id"
  folders
  switch_to "$id"
  forget_others
  begin
}

rollback() {
  local id
  id=$(release_of previous)
  [ -n "$id" ] || fail "there is no version before this one" 2
  remembered "$ROOT/releases/$id/options"
  switch_to "$id"
  begin
}

uninstall() {
  if booted; then
    systemctl -q disable --now litewatch-check.timer litewatch.service 2>/dev/null || true
    systemctl stop litewatch-check.service 2>/dev/null || true
  else
    systemctl -q disable litewatch-check.timer litewatch.service 2>/dev/null || true
  fi
  rm -f "$TRIAL/litewatch.service" "$COMMAND" "$UNITS"/litewatch{,-check}.service "$UNITS"/litewatch-check.timer
  rm -rf "$UNITS"/litewatch{,-check}.service.d
  without_coral
  rmdir "$UNITS" "${UNITS%/*}" "${RULES%/*}" "${RULES%/*/*}" "${SYSUSERS%/*}" 2>/dev/null || true
  rm -rf "$ROOT" /run/litewatch /run/private/litewatch
  rm -f /var/lib/systemd/timers/stamp-litewatch-check.timer
  if [ "$KEEP_DATA" = no ]; then
    rm -rf "$ETC" "$STATE" /var/lib/litewatch
    rm -rf /etc/systemd/system/litewatch{,-check}.service.d /etc/systemd/system/litewatch-check.timer.d
  fi
  reload
  if booted; then systemctl reset-failed litewatch.service litewatch-check.service 2>/dev/null || true; fi
  say "gone$([ "$KEEP_DATA" = yes ] && echo ", but for $ETC and /var/lib/litewatch" || true)"
}

main() {
  remembered "$ROOT/options"
  arguments "$@"
  [ "$(id -u)" = 0 ] || fail "must be root: sudo $0 $*" 2
  exec 9>/run/litewatch-install.lock
  flock -n 9 || fail "another install.sh is at work"
  if booted; then trial_ends; fi
  case $ACTION in
  install | upgrade) install_or_upgrade ;;
  rollback) rollback ;;
  uninstall) uninstall ;;
  esac
  rm -f /run/litewatch-install.lock
}

main "$@"
