#!/bin/sh
# Tests and measurements of this bundle on a machine with a GPU, in one go:
#   ./device_check [SECONDS]      480 seconds by default
# Every part has a limit; one that takes longer is ended, and the next one begins. A log of each part
# and a summary are written to $OUT, by default results/device. The tests come first; the exit
# status is theirs.
cd "$(dirname "$0")" || exit 1
budget=${1:-480}
out=${OUT:-results/device}
mkdir -p "$out" || exit 1
begin=$(date +%s)
failed=0
: >"$out/summary"

# part NAME SECONDS COMMAND..: runs a command with a limit; its exit status is `status`.
part() {
  name=$1 limit=$2
  shift 2
  left=$((budget - $(date +%s) + begin))
  if [ "$left" -lt "$limit" ]; then limit=$left; fi
  if [ "$limit" -le 0 ]; then
    echo "$name: no time left" | tee -a "$out/summary"
    status=124
    return
  fi
  start=$(date +%s)
  timeout "$limit" "$@" >"$out/$name.log" 2>&1
  status=$?
  echo "$name: exit status $status after $(($(date +%s) - start)) of at most $limit s" | tee -a "$out/summary"
}
test_part() {
  part "$@"
  if [ "$status" -ne 0 ]; then failed=1; fi
}

nvidia-smi >"$out/machine" 2>&1
test_part gpu_ops 60 ./run gpu_ops
test_part gpu 150 ./run gpu
speed="./run step_speed --device cuda --items 70852 --steps 100 --json"
part graphs 40 $speed
part eager 40 env PRL_CUDA_GRAPH=0 $speed
part tf32 25 $speed --head-dtype tf32
part bf16 25 $speed --head-dtype bf16
part small 25 ./run step_speed --device cuda --items 26702 --steps 100 --json
part bench 60 ./run bench --device cuda
if python3 -c 'import torch' 2>/dev/null; then
  part peers 180 ./run bench peers --device cuda --python python3
else
  echo "peers: python3 has no PyTorch" | tee -a "$out/summary"
fi
exit "$failed"
