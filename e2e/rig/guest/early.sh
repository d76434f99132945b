#!/bin/sh
# First program of the guest, in its initramfs: the host's root read-only by 9p, a tmpfs overlay on it so that nothing in the
# guest can alter the host, the share read-write at the host's own path. Then the second stage, which lies in the share.
# Kernel command line: terrace.share=DIR terrace.modules=DIR (both paths of the host).
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
gone() { echo "guest: $*"; poweroff -f; }
while read -r module; do insmod "/modules/$module" || gone "insmod $module"; done < /modules/order
for word in $(cat /proc/cmdline); do
  case $word in
    terrace.share=*) share=${word#*=};;
    terrace.modules=*) modules=${word#*=};;
  esac
done
nine=trans=virtio,version=9p2000.L,msize=512000
mount -t 9p -o "ro,$nine,cache=loose" hostroot /host || gone "no root of the host"
mount -t tmpfs -o size=1g tmpfs /new
mkdir /new/upper /new/work /new/root
mount -t overlay overlay -o lowerdir=/host,upperdir=/new/upper,workdir=/new/work /new/root || gone "no overlay"
release=$(uname -r)
mkdir -p "/new/root/lib/modules/$release" "/new/root$share"
mount -o bind "/host$modules" "/new/root/lib/modules/$release" || gone "no modules"
mount -t 9p -o "$nine,cache=mmap" share "/new/root$share" || gone "no share"
umount /sys /dev /proc
exec switch_root /new/root /bin/busybox sh "$share/init" "$share"
