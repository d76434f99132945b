#!/bin/sh
# First program of a User Mode Linux guest: the host's root is there already, read-only, by hostfs. A tmpfs overlay goes on it, so that
# nothing in the guest can alter the host, then the share, read-write at the host's own path. Then the second stage, which lies in the share.
# Kernel command line: terrace.share=DIR terrace.modules=DIR (both paths of the host).
b=/bin/busybox
gone() { echo "guest: $*"; $b poweroff -f; }
# Until now this is the host's.
$b mount -t proc proc /proc || gone "no proc"
read -r words < /proc/cmdline
for word in $words; do
  case $word in
    terrace.share=*) share=${word#*=};;
    terrace.modules=*) modules=${word#*=};;
  esac
done
read -r release < /proc/sys/kernel/osrelease
$b insmod "$modules/kernel/fs/overlayfs/overlay.ko" || gone "insmod overlay"
$b mount -t tmpfs -o size=1g tmpfs /mnt
$b mkdir /mnt/upper /mnt/work /mnt/root
$b mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root || gone "no overlay"
$b mkdir -p "/mnt/root/lib/modules/$release" "/mnt/root$share"
$b mount -t hostfs -o "$modules" none "/mnt/root/lib/modules/$release" || gone "no modules"
$b mount -t hostfs -o "$share" none "/mnt/root$share" || gone "no share"
$b umount /proc
cd /mnt/root && $b mount --move . / && exec $b chroot . $b sh "$share/init" "$share"
gone "the new root cannot be entered"
