//! Pools that cannot be: each says on its own status what stands in the way, and touches nothing.

use std::fs::File;

use anyhow::{Context, Result, ensure};
use terrace_e2e::ground::{disks, id_of};
use terrace_e2e::rig::on_node;
use terrace_e2e::story::{Story, apply, class_yaml, kubectl, until};

pub(crate) fn pool(name: &str, spec: &str) -> Result<()> {
    apply(&format!("apiVersion: terrace.storage/v1alpha1\nkind: StoragePool\nmetadata: {{name: {name}}}\nspec: {{tier: strange, {spec}}}\n")).map(drop)
}

/// Waits until the pool's status says these words anywhere.
fn says(name: &str, words: &str) -> Result<String> {
    until(&format!("pool {name} says {words:?}"), 60, || {
        let status = kubectl(&["get", "spool", name, "-o", "jsonpath={.status}"])?;
        Ok(if status.contains(words) { Ok(status.clone()) } else { Err(status.clone()) })
    })
}

/// Deletes pools, and waits until the node has forgotten them: taken away before that, a disk would be a pool's that is missing.
pub(crate) fn rid_of(names: &[&str]) -> Result<()> {
    kubectl(&[&["delete", "spool", "--timeout=60s", "--ignore-not-found"], names].concat())?;
    until("the node forgets the pools", 60, || {
        let pools = kubectl(&["get", "snode", "-o", "jsonpath={.items[*].status.pools[*].name}"])?;
        let listed = pools.split(' ').any(|pool| names.contains(&pool));
        Ok(if listed { Err(pools) } else { Ok(()) })
    })
}

/// A disk of the node for as long as the work takes: a loop device on a file outside of every pool.
pub(crate) fn with_disk(
    name: &str,
    prepare: &str,
    work: impl FnOnce(&str) -> Result<()>,
) -> Result<()> {
    with_disk_of(name, "1G", prepare, work)
}

/// As [`with_disk`], of this size; it takes only what is written to it.
fn with_disk_of(
    name: &str,
    size: &str,
    prepare: &str,
    work: impl FnOnce(&str) -> Result<()>,
) -> Result<()> {
    let file = format!("/var/lib/terrace/story-{name}.img");
    let device = on_node(&format!("truncate -s {size} {file} && losetup --show -f {file}"))?;
    let device = device.trim().to_owned();
    let done =
        on_node(&format!("D={device}; {prepare}")).and_then(|_| work(&format!("loop:{file}")));
    on_node(&format!(
        "for m in $(grep '^{device} ' /proc/mounts | cut -d' ' -f2); do umount $m; done; losetup -d {device}; rm -f {file}"
    ))?;
    done
}

/// A disk that a pool of this backend may lie on: a group's is a real one.
fn with_disk_for(
    backend: &str,
    name: &str,
    size: &str,
    work: impl FnOnce(&str) -> Result<()>,
) -> Result<()> {
    if [LVM, LVM_THIN].contains(&backend) {
        with_spare(work)
    } else {
        with_disk_of(name, size, "true", work)
    }
}

/// A blank disk of this machine that no other story has, blank again afterwards. The first of them is the pool's of all stories.
fn with_spare(work: impl FnOnce(&str) -> Result<()>) -> Result<()> {
    let spares = disks().into_iter().skip(1);
    let mut locks = spares.map(|disk| {
        let lock = File::create(format!("/run/terrace-story-{disk}"))?;
        anyhow::Ok((disk, lock.try_lock().is_ok(), lock))
    });
    let free = locks.find(|lock| matches!(lock, Err(_) | Ok((_, true, _))));
    let (disk, _, _lock) = free.context("no spare disk is free")??;
    let done = work(&id_of(&disk)?);
    // Terrace takes no group away. Where no udev runs, lvm makes and removes the nodes itself.
    on_node(&format!(
        "lvm() {{ DM_DISABLE_UDEV=1 /sbin/lvm \"$@\" --devices /dev/{disk}; }}
        group=$(lvm vgs --noheadings -o vg_name | tr -d ' ')
        for device in $(basename -a /sys/block/{disk}/holders/*); do
            for mount in $(grep \"^/dev/$device \" /proc/mounts | cut -d' ' -f2); do umount $mount; done
        done
        test -z \"$group\" || lvm vgremove -ff --yes $group || exit 1
        wipefs -a /dev/{disk} && dd if=/dev/zero of=/dev/{disk} bs=1M count=2 conv=fsync"
    ))?;
    done
}

/// Logical volumes.
pub(crate) const LVM: &str = "lvm";
/// Volumes of a thin pool.
pub(crate) const LVM_THIN: &str = "lvmThin";
/// Images, with xfs in them where nothing else is asked for.
pub(crate) const XFS: &str = "file";
/// Subvolumes.
pub(crate) const BTRFS: &str = "btrfs";

/// A story with a pool of its own on a disk of its own, kept by `backend`, and a class of that name that uses it and asks for no
/// filesystem.
pub(crate) fn on_pool(
    name: &str,
    backend: &str,
    size: &str,
    tell: impl Fn(&Story, &str) -> Result<()>,
) -> Result<()> {
    // Names of objects have no capitals.
    let object = format!("{name}-{}", backend.to_lowercase());
    with_disk_for(backend, &object, size, |id| {
        let story = Story::begin(&object)?;
        pool(&object, &format!("devices: [{{id: '{id}'}}], {backend}: {{}}"))?;
        let wait = ["wait", &format!("spool/{object}"), "--for=condition=Ready", "--timeout=90s"];
        kubectl(&wait).map_err(|error| {
            let seen = kubectl(&["get", "spool", &object, "-o", "jsonpath={.status}"]);
            error.context(seen.unwrap_or_default())
        })?;
        let parameters = format!("{{terrace.storage/pool: {object}}}");
        apply(&class_yaml(&object, &parameters, "WaitForFirstConsumer", "Delete"))?;
        let told = tell(&story, &object);
        let ended = story.end();
        kubectl(&["delete", "storageclass", &object, "--ignore-not-found"])?;
        // Whatever came of it, the next story begins without this pool.
        let rid = rid_of(&[&object]);
        told?;
        ended?;
        rid
    })
}

#[test]
fn a_device_that_holds_data_is_refused_and_named() -> Result<()> {
    with_disk(
        "data",
        "mkfs.ext4 -q -L precious $D && sha256sum $D > /var/lib/terrace/story-data.sum",
        |id| {
            pool("holds-data", &format!("devices: [{{id: '{id}'}}], file: {{}}"))?;
            let said = says("holds-data", "ext4")?;
            println!("{said}");
            on_node(
                "sha256sum -c /var/lib/terrace/story-data.sum; s=$?; rm /var/lib/terrace/story-data.sum; exit $s",
            )?;
            rid_of(&["holds-data"])
        },
    )
}

#[test]
fn of_two_pools_that_claim_a_device_the_older_has_it_and_both_say_so() -> Result<()> {
    with_disk("twice", "true", |id| {
        let spec = format!("devices: [{{id: '{id}'}}], file: {{}}");
        pool("first", &spec)?;
        kubectl(&["wait", "spool/first", "--for=condition=Ready", "--timeout=60s"])?;
        pool("second", &spec)?;
        println!("{}", says("second", "first")?);
        println!("{}", says("first", "second")?);
        rid_of(&["second", "first"])
    })
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_with_a_sentence() -> Result<()> {
    on_node(
        "cd /var/lib/terrace && mkdir -p pools/frozen && truncate -s 400M frozen.img && mkfs.xfs -q -f frozen.img && mount -o loop,ro frozen.img pools/frozen",
    )?;
    let done = pool("frozen", "file: {directory: /var/lib/terrace/pools/frozen}")
        .and_then(|()| says("frozen", "/var/lib/terrace/pools/frozen"));
    let state = kubectl(&[
        "get",
        "spool",
        "frozen",
        "-o",
        "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}",
    ]);
    rid_of(&["frozen"])?;
    on_node(
        "umount /var/lib/terrace/pools/frozen; rmdir /var/lib/terrace/pools/frozen; rm -f /var/lib/terrace/frozen.img",
    )?;
    println!("{}", done?);
    ensure!(state? == "False", "the pool is Ready");
    Ok(())
}

#[test]
fn a_folder_outside_of_the_nodes_pool_directories_is_refused() -> Result<()> {
    pool("outside", "file: {directory: /etc}")?;
    let said = says("outside", "is not below one of this node's pool directories");
    rid_of(&["outside"])?;
    println!("{}", said?);
    Ok(())
}
