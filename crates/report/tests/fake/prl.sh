#!/bin/sh
# Stands in for the prl binary in the tests of prl-reproduce: the same command line and the same
# files, with ranks by a formula (ranks.awk) instead of training. It appends its calls to
# $FAKE_DIR/calls. A pattern in the file $FAKE_DIR/hang or $FAKE_DIR/diverge selects runs by name
# that hang until they have a checkpoint, or that diverge.
set -eu

if [ "$1" = --version ]; then
  echo "prl 0.0.0-fake"
  exit
fi
command=$1
shift
resume= method= encoder= seed=0 attention= mu=2 eps=0 split=test cases= out= run= source= like= clicks= input=
while [ $# -gt 0 ]; do
  case $1 in
    --json) shift ;;
    --resume) resume=yes && shift ;;
    --*) name=$(echo "${1#--}" | tr - _) && eval "$name=\$2" && shift 2 ;;
  esac
done

# Whether the name of the run matches the pattern in a file.
matches() { [ -f "$FAKE_DIR/$1" ] && basename "$out" | grep -q "$(cat "$FAKE_DIR/$1")"; }

report() {
  awk -v method="$method$attention" -v encoder="$encoder" -v seed="$seed" -v mu="$mu" -v eps="$eps" -v part="$split" \
    -v cases="$cases" -v step="${1-}" -f "$(dirname "$0")/ranks.awk"
}

case $command in
  synth)
    mkdir -p "$out"
    for file in events.csv yoochoose-clicks.dat yoochoose-buys.dat; do echo made up >"$out/$file"; done
    ;;
  prepare)
    mkdir -p "$out"
    sessions=195523
    [ "$source" = rc15 ] && sessions=200000
    raw=$clicks$input
    synthetic=true
    [ "$(head -c 7 "$raw")" = "made up" ] || synthetic=false
    rest='"items":800,"clicks":51200,"purchases":2048'
    all="{\"sessions\":$sessions,$rest}"
    echo "{\"dataset\":\"fake$source\",\"source\":{\"kind\":\"$source\",\"synthetic\":$synthetic},\"counts\":{\"before_length_filter\":$all,
      \"after_length_filter\":$all},\"splits\":{\"train\":$all,\"val\":$all,\"test\":$all}}" >"$out/manifest.json"
    ;;
  train)
    mkdir -p "$out"
    echo "train $(basename "$out") ${resume:-anew} $([ -f "$out/checkpoint" ] && echo from a checkpoint)" >>"$FAKE_DIR/calls"
    printf 'method=%s encoder=%s seed=%s attention=%s\n' "$method" "$encoder" "$seed" "$attention" >"$out/what"
    if matches hang && [ ! -f "$out/checkpoint" ]; then
      echo 1 >"$out/checkpoint"
      exec sleep 600
    fi
    if matches diverge; then
      echo "error: the loss is NaN at step 1234: training has diverged; try a smaller --lr" >&2
      exit 1
    fi
    : >"$out/metrics.jsonl"
    for step in 100 200 300; do
      echo "{\"step\":$step,\"val\":$(split=val report $step)}" >>"$out/metrics.jsonl"
    done
    echo '{"model":"fake","steps":300,"best_step":200,"seconds":61.5,"machine":{"threads":2,"device":"cpu"}}' >"$out/manifest.json"
    ;;
  evaluate)
    echo "evaluate $(basename "$run") $split $mu $eps" >>"$FAKE_DIR/calls"
    eval "$(cat "$run/what")"
    report
    ;;
  *)
    echo "error: no command $command" >&2
    exit 2
    ;;
esac
