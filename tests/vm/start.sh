#!/bin/busybox sh
# The first program of the tests' own in a guest; virtme's init has run before it, or arm64-init.sh.
#   start.sh TREE CHECKOUT ENVIRONMENT [DIRECTORY]...
# TREE is the unpacked kernel, with lib/modules; ENVIRONMENT is Python's virtual environment. TREE,
# CHECKOUT and the DIRECTORIES are taken from the host.
# The command to run is in /run/share/command; its output and exit status go to the same
# directory, which the host sees. Run by busybox, most of whose commands are part of the
# shell: until the cached files are there, each program started costs a second on old kernels.
set -e
tree=$1
checkout=$2
environment=$3
shift 3

# The root file system comes without a cache: every page of every library is asked for again,
# and Python starts four times slower. The same files once more, cached. The host may not
# see its own changes in the guest then, but a run wants files that keep still anyway.
mkdir -p /run/host
mountpoint -q /run/host || mount -t 9p -o ro,version=9p2000.L,trans=virtio,msize=65536,cache=loose host /run/host
mount -t tmpfs -o mode=1777 tmp /tmp # what must be seen and lies below it comes back next
for directory in "$@" "$tree" "$checkout"; do
    mkdir -p "$directory"
    mount --bind "/run/host$directory" "$directory"
done

# The modules are not where the system keeps its own, and that place stays as it is. So the
# kernel gets a modprobe that looks elsewhere, and people's modprobe reads the variable.
printf '#!/bin/sh\nexec /sbin/modprobe --dirname %s "$@"\n' "$tree" >/run/modprobe
chmod 755 /run/modprobe
echo /run/modprobe >/proc/sys/kernel/modprobe
export MODPROBE_OPTIONS="--dirname $tree"

mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug
mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
ip link set lo up
echo 60 >/proc/sys/kernel/watchdog_thresh || true # a CPU that runs in circles for twice as many seconds
echo 1 >/proc/sys/kernel/softlockup_panic || true # ends the guest: see HALF_PATCHED in guest.py
echo 5 >/proc/sys/kernel/printk # warnings and worse go to the console, which the host keeps

export PATH="$environment/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
export HOME=/tmp
if [ -d /run/bytecode ]; then # arm64_guest.py
    export PYTHONPYCACHEPREFIX=/run/bytecode
else
    export PYTHONDONTWRITEBYTECODE=1
fi
export HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis
export LOCALITY_REQUIRE_LIVE=1
export LOCALITY_EMULATED=1

cd "$checkout"
status=0
/bin/sh /run/share/command </run/share/input >/run/share/output 2>&1 || status=$?
# Written last and in one step: a status that can be read means that the output is complete.
echo $status >/run/share/status.part
mv /run/share/status.part /run/share/status
