#!/bin/sh
# Process 1 of the guest: kernel filesystems, drivers by name, the command of the share, its status, the end. Every early program is
# an applet of the static busybox: loading dynamic ones is what costs time here. No file `exit` in the share means that the guest died.
# Kernel command line: terrace.load=MODULE,MODULE
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
b=/bin/busybox
share=$1
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs dev /dev
$b mkdir -p /dev/pts /dev/shm
$b mount -t devpts devpts /dev/pts
$b mount -t tmpfs tmpfs /dev/shm
# /tmp and /root stay the overlay's: what lies there on the host is to be seen. An overlay cannot have its upper layer on one.
$b mount -t tmpfs tmpfs /run
$b mkdir -p /run/lock
$b mount -t cgroup2 cgroup2 /sys/fs/cgroup
for kind in debugfs:/sys/kernel/debug tracefs:/sys/kernel/tracing; do
  # User Mode Linux has neither.
  if [ -d "${kind#*:}" ]; then $b mount -t "${kind%:*}" "${kind%:*}" "${kind#*:}"; fi
done
$b mount -t bpf bpf /sys/fs/bpf
$b mount --make-rshared /
$b ifconfig lo 127.0.0.1 up
$b hostname guest
read -r words < /proc/cmdline
for word in $words; do
  case $word in terrace.load=*) load=${word#*=};; esac
done
IFS=,; for module in $load; do modprobe "$module"; done; unset IFS
# No udev runs here: device-mapper makes its own nodes.
export DM_DISABLE_UDEV=1 TERRACE_GUEST=1 TERRACE_SHARE="$share"
TERRACE_DISKS=$(echo /dev/vd? /dev/ubd? | $b tr ' ' '\n' | $b grep -v '?' | $b tr '\n' ' ')
export TERRACE_DISKS
# No busybox: its shell would run applets of its own where the job names the system's programs.
/bin/sh "$share/job" > "$share/out" 2> "$share/err" < /dev/null
echo $? > "$share/exit.partial"
$b mv "$share/exit.partial" "$share/exit"
$b sync
$b poweroff -f
