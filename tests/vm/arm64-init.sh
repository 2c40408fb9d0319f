#!/bin/busybox sh
# The first program in a guest of arm64, from its initramfs: load what the root file system needs,
# mount it, and go on there with what the host left in /run/share/boot.
set -e
/bin/busybox mkdir -p /proc /sys /dev /root
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
for module in /modules/*; do # in the order in which they depend on one another
    /bin/busybox insmod "$module"
done
tries=0
until [ -b /dev/vda ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ]
    /bin/busybox sleep 0.1
done
/bin/busybox mount -t ext4 /dev/vda /root
for place in run tmp; do
    /bin/busybox mount -t tmpfs -o mode=1777 tmp "/root/$place"
done
/bin/busybox mkdir /root/run/share /root/run/lock
if [ -b /dev/vdc ]; then # arm64-disks.sh
    /bin/busybox mkdir /root/run/host
    /bin/busybox mount -t ext4 /dev/vdb /root/run/share
    /bin/busybox mount -t ext4 -o ro /dev/vdc /root/run/host
else
    /bin/busybox mount -t 9p -o rw,version=9p2000.L,trans=virtio,msize=65536 share /root/run/share
fi
/bin/busybox mount --move /proc /root/proc
/bin/busybox mount --move /sys /root/sys
/bin/busybox mount --move /dev /root/dev
/bin/busybox mkdir -p /root/dev/pts /root/dev/shm
/bin/busybox mount -t devpts devpts /root/dev/pts
/bin/busybox mount -t tmpfs -o mode=1777 shm /root/dev/shm
/bin/busybox mount -t cgroup2 cgroup /root/sys/fs/cgroup
exec /bin/busybox switch_root /root /bin/busybox sh /run/share/boot
