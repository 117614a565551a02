#!/bin/sh
# Start a Slurm cluster of this computer alone, without accounting, in a folder; or stop it.
#   sh one_node_slurm.sh start|stop FOLDER      as root, with the packages slurm-wlm and munge
set -eu
action=$1
mkdir -p "$2/state" "$2/spool" "$2/munge"
folder=$(cd "$2" && pwd)
export SLURM_CONF="$folder/slurm.conf"
cd "$folder"

if [ "$action" = stop ]; then
    for process in slurmd slurmctld munged; do
        kill "$(cat $process.pid)"
    done
    exit
fi

chmod 700 munge
[ -f munge/key ] || (umask 077 && head -c 128 /dev/urandom >munge/key)
munged --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" \
    --seed-file="$folder/munge/seed" --log-file="$folder/munge/log" --pid-file="$folder/munged.pid"
cat >slurm.conf <<CONF
ClusterName=one
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
AuthInfo=socket=$folder/munge/socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
SelectType=select/linear
TaskPlugin=task/none
KillWait=5
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=1
PartitionName=all Nodes=ALL Default=YES
CONF
slurmctld
slurmd
echo "export SLURM_CONF=$SLURM_CONF"
