//! What is there before a history begins: a pool, two nodes, and strangers' files in their folders.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use terrace_crds::StoragePool;
use terrace_crds::names::volume_uuid;
use terrace_crds::pool::{FileBackend, StoragePoolSpec};
use terrace_device_types::{
    Allocation, Bytes, ClusterUid, HostObject, HostState, Latch, PoolUuid, StageState, Tag,
    VolumeMode, VolumeUuid,
};
use uuid::Uuid;

use crate::caller::CLUSTER;
use crate::host::{Content, Image, Node};

pub(super) fn pool() -> StoragePool {
    let metadata = ObjectMeta {
        name: Some("files".to_owned()),
        uid: Some("pool".to_owned()),
        ..ObjectMeta::default()
    };
    let spec = StoragePoolSpec {
        node_selector: BTreeMap::new(),
        tier: "ssd".to_owned(),
        devices: Vec::new(),
        file: Some(FileBackend { directory: Some("/pool".to_owned()), overprovision: None }),
        btrfs: None,
        lvm: None,
        lvm_thin: None,
        erase: Vec::new(),
        watermarks: None,
    };
    StoragePool { metadata, spec, status: None }
}

pub(super) fn node(number: usize) -> Node {
    let dir = PathBuf::from("/pool");
    Node {
        name: format!("node-{number}"),
        images: strangers(&dir),
        dir,
        pool: PoolUuid(Uuid::from_u128(0xb00 + number as u128)),
        cluster: CLUSTER.to_string().parse::<ClusterUid>().unwrap(),
        boots: 1,
        starts: 0,
        next: 100,
        journal: Vec::new(),
        targets: BTreeSet::new(),
        frozen: BTreeSet::new(),
        mounts: Vec::new(),
        unsynced: Vec::new(),
    }
}

/// The claim whose volume would be called like the image of another cluster, on every node: it waits for ever.
pub(super) const TAKEN: &str = "pp-1";

/// An image of another cluster, called like one of ours would be, and a file without a tag.
pub(super) fn strangers(dir: &Path) -> Vec<Image> {
    let uuid = volume_uuid(CLUSTER, TAKEN);
    let tag = Tag {
        object: HostObject::Volume,
        source: None,
        volume: VolumeUuid(uuid),
        cluster: "other-cluster".parse().unwrap(),
        pool: PoolUuid(uuid),
        name: TAKEN.to_owned(),
        mode: VolumeMode::Block,
        allocation: Allocation::Reserved,
        state: HostState::Ready,
        latch: Latch::None,
        stage: StageState::Never,
    };
    let image = |name: String, ino, tag| Image {
        path: dir.join(name),
        ino,
        size: Bytes::gib(1),
        tag,
        content: Content::Blank,
        attached: None,
    };
    vec![image(format!("t-{uuid}"), 11, Some(tag)), image("backup.tar".to_owned(), 12, None)]
}
