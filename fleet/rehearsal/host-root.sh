#!/bin/sh
# Assemble the root of a host and become its first process. Arguments: disk folder, host name, then the command.
# The root is an overlay: this machine's own root below, and a memory disk above that takes every change.
set -eu
disk=$1 name=$2
shift 2
root=$disk/root
echo "$name" >/proc/sys/kernel/hostname
mount -t overlay overlay -o "lowerdir=/,upperdir=$disk/upper,workdir=$disk/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm" "$root/run/old" "$root/run/sshd" "$root/run/lock"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mknod -m 666 "$root/dev/null" c 1 3
mknod -m 666 "$root/dev/zero" c 1 5
mknod -m 666 "$root/dev/full" c 1 7
mknod -m 666 "$root/dev/random" c 1 8
mknod -m 666 "$root/dev/urandom" c 1 9
mknod -m 666 "$root/dev/tty" c 5 0
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"
# Outside the overlay: Postfix names its queue files after their inodes, and readers of logs remember theirs.
mount --bind "$disk/spool" "$root/var/spool"
mount --bind "$disk/log" "$root/var/log"
mount --bind "$disk/boot_id" "$root/proc/sys/kernel/random/boot_id"
cd "$root"
pivot_root . run/old
cd /
umount -l /run/old
rmdir /run/old
exec "$@"
