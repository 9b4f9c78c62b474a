#!/bin/sh
# A Slurm cluster of one node, this machine, without munge: `one-node.sh start DIR` writes DIR/slurm.conf and starts it,
# `one-node.sh stop DIR` ends it. Use it with SLURM_CONF=DIR/slurm.conf. Two cores, no cgroups, ports of its own.
set -eu
dir=$2
host=$(hostname -s)

daemons() { cat "$dir"/slurmctld.pid "$dir"/slurmd.pid 2>/dev/null || true; }

case $1 in
  start)
    mkdir -p "$dir/state" "$dir/spool"
    port=${SLURM_TEST_PORT:-16817}
    user=$(id -un)
    cat >"$dir/slurm.conf" <<CONF
ClusterName=one
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SchedulerType=sched/builtin
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
KillWait=3
MinJobAge=300
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
    export SLURM_CONF="$dir/slurm.conf"
    slurmctld
    slurmd
    tries=0
    until sinfo --noheader --format=%t | grep -q '^idle$'; do
      tries=$((tries + 1))
      if [ $tries -gt 100 ]; then
        echo "the node does not come up" >&2
        tail -n 20 "$dir"/*.log >&2
        exit 1
      fi
      sleep 0.2
    done
    ;;
  stop)
    for pid in $(daemons); do kill "$pid" 2>/dev/null || true; done
    ;;
esac
