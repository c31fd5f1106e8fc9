#!/usr/bin/env bash
# A SLURM of one node, this machine, for as long as one command runs.
#
#     tests/slurm/one_node.sh [COMMAND [ARGUMENT...]]
#
# Without a command it executes the smoke study through SLURM. sbatch, srun and the like find the node by SLURM_CONF.
# Ends with the command's exit code; where there can be no node, prints 'skipped: <why>' and ends with 0.
#
# Needs slurm-wlm and munge as Debian 12 has them; as root, with apt, it installs them. A SLURM that is here already is
# left alone: ports, socket, key and folders are the script's own. The daemons run as the caller and listen on loopback.
# At the end, or when interrupted, jobs and daemons are stopped and the temporary folder is removed; the logs stay where
# the command failed.

set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
PATH=$PATH:/usr/sbin:/sbin

skip() {
    echo "skipped: $*"
    exit 0
}

installed() {
    type munged slurmctld slurmd sbatch srun squeue scancel sinfo >/dev/null 2>&1
}

packages() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends slurm-wlm munge
}

# Debian starts the services of what it installs, unless such a policy forbids it.
install_quietly() {
    local policy=/usr/sbin/policy-rc.d made=
    [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy && made=$policy; }
    { packages || { apt-get update && packages; }; } </dev/null >/dev/null 2>&1
    rm -f $made
}

if ! installed; then
    [ "$(id -u)" = 0 ] || skip "slurm-wlm and munge are not installed, and only root can install them"
    type apt-get >/dev/null 2>&1 || skip "slurm-wlm and munge are not installed, and there is no apt-get"
    install_quietly
    installed || skip "apt-get cannot install slurm-wlm and munge"
fi

# SLURM listens where the host's name leads. Where that is not loopback, the node gets a host name of its own.
host=$(uname -n)
address=$(awk -v h="$host" '$1 !~ /[:#]/ { for (i = 2; i <= NF; i++) if ($i == h) { print $1; exit } }' /etc/hosts)
if [[ $address != 127.* ]]; then
    { [ "$host" != localhost ] && unshare --uts hostname localhost 2>/dev/null; } ||
        skip "the name of this host does not lead to loopback; remedy: a first line '127.0.0.1 $host' in /etc/hosts"
    exec unshare --uts sh -c 'hostname localhost && exec "$0" "$@"' "$root/tests/slurm/one_node.sh" "$@"
fi
getent ahostsv4 "$host" >/dev/null || skip "SLURM finds no host by name where loopback is the only network"
name=${host%%.*}

free_port() {
    local port
    while port=$((20000 + RANDOM % 10000)) && (: <"/dev/tcp/$address/$port") 2>/dev/null; do :; done
    echo $port
}

folder=$(mktemp -d "${TMPDIR:-/tmp}/one_node.XXXXXX") || exit 1
logs=$folder/logs
chmod 755 "$folder" # munged refuses a socket that not every user can reach
mkdir "$logs" "$folder/state" "$folder/spool"
(umask 077 && head -c 128 /dev/urandom >"$folder/munge.key")

cpus=$(getconf _NPROCESSORS_ONLN) # nproc obeys OMP_NUM_THREADS
memory=$(awk '/^MemTotal/ { print int($2 / 1024) }' /proc/meminfo)
unset ${!SLURM*} ${!SBATCH*} # of a job that the caller may be in
export SLURM_CONF=$folder/slurm.conf
cat >"$SLURM_CONF" <<END
ClusterName=one_node
SlurmctldHost=$name($address)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$logs/slurmctld.log
SlurmdLogFile=$logs/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
MailProg=/bin/true
KillWait=5
NodeName=$name NodeAddr=$address CPUs=$cpus RealMemory=$memory
PartitionName=all Nodes=$name Default=YES
END

daemons=()
command=

# In a session of its own: the interrupt that ends the command must not end the daemons before the jobs.
daemon() {
    setsid "$@" </dev/null >>"$logs/${1##*/}.out" 2>&1 &
    daemons=($! ${daemons[@]+"${daemons[@]}"})
}

# within SECONDS COMMAND...: tries until it succeeds, or the time is over.
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.2
    done
}

idle() { [ "$(sinfo -h -o %T 2>/dev/null)" = idle ]; }
no_jobs() { [ -z "$(squeue -h 2>/dev/null)" ]; }
gone() { ! kill -0 "$1" 2>/dev/null; }

stop() {
    kill "$1" 2>/dev/null
    within 10 gone "$1" || kill -9 "$1"
}

finish() {
    local code=$? pid
    trap '' INT TERM HUP
    if [ -n "$command" ]; then
        stop "$command"
        scancel --user="$(id -un)" && within 20 no_jobs
    fi
    for pid in ${daemons[@]+"${daemons[@]}"}; do stop "$pid"; done
    # What a job detached is no longer SLURM's; its environment still tells.
    kill -9 $(grep -lsFxz "SLURM_CONF=$SLURM_CONF" /proc/[0-9]*/environ | cut -d/ -f3) 2>/dev/null
    if [ $code = 0 ]; then
        rm -rf "$folder"
    else
        rm -rf "$folder/"{munge.*,slurm*,spool,state}
        echo "logs: $logs" >&2
    fi
    exit $code
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

daemon munged --foreground --socket="$folder/munge.socket" --key-file="$folder/munge.key" \
    --pid-file="$folder/munge.pid" --seed-file="$folder/munge.seed" --log-file="$logs/munged.log"
within 10 test -S "$folder/munge.socket"
daemon slurmctld -D
daemon slurmd -D
if ! within 60 idle; then
    tail -n 20 "$logs"/* >&2
    echo "no idle node within 60 seconds" >&2
    exit 1
fi

[ $# -gt 0 ] || set -- "$root/.venv/bin/python" -m mmlib.runs "$root/notebooks/studies/smoke.yaml" \
    --slurm cores=1 memory=2GB walltime=00:20:00 --out "$logs/smoke"
"$@" <&0 &
command=$!
wait $command
