//! What a status says, story by story.
use std::path::PathBuf;

use terrace_crds::condition::{find, is_true};
use terrace_device_types::{
    Allocation, BootId, DevT, Erase, FileId, FilesystemView, Form, FsType, FsUuid, HostObject,
    HostState, ImageView, Kernel, LayoutView, MountPoint, Opened, PoolFileReading, PoolUuid,
    PoolView, QuotaView, Signature, Tag, TagReading, VolumeUuid, VolumeView,
};
use uuid::Uuid;

use super::super::desired::Fate;
use super::*;

const STAGING: &str = "/kubelet/staging";

fn asked(mib: u64) -> ValidVolume {
    ValidVolume {
        name: "vol".into(),
        pv_name: "vol".into(),
        uuid: VolumeUuid(Uuid::from_u128(1)),
        pool: PoolUuid(Uuid::from_u128(2)),
        size: Bytes::mib(mib),
        mode: VolumeMode::Filesystem { fs: FsType::Xfs },
        source: None,
        erase: Erase::No,
        fate: Fate::Kept,
    }
}

fn boot(text: &str) -> BootId {
    text.parse().expect("a token")
}

fn view(image_mib: u64, spans_mib: u64, stage: StageState) -> View {
    let mount = MountPoint {
        id: 7,
        parent: 1,
        dev_t: DevT { major: 7, minor: 0 },
        root: "/".into(),
        at: STAGING.into(),
        options: vec!["rw".into()],
        fs: "xfs".into(),
        source: "/dev/loop0".into(),
        super_options: Vec::new(),
    };
    let tag = Tag {
        object: HostObject::Volume,
        source: None,
        volume: VolumeUuid(Uuid::from_u128(1)),
        cluster: "c".parse().expect("a token"),
        pool: PoolUuid(Uuid::from_u128(2)),
        name: "vol".into(),
        mode: VolumeMode::Filesystem { fs: FsType::Xfs },
        allocation: Allocation::Reserved,
        state: HostState::Ready,
        latch: Latch::Formatted { filesystem: FsUuid(Uuid::from_u128(3)) },
        stage,
    };
    let image = ImageView {
        path: "/pool/t-1".into(),
        id: FileId { dev: 1, ino: 1 },
        apparent: Bytes::mib(image_mib),
        allocated: Bytes::mib(image_mib),
        form: Form::Image,
        tag: TagReading::Read(tag),
    };
    let filesystem = FilesystemView {
        fs: FsType::Xfs,
        mounted: Some(STAGING.into()),
        spans: Bytes::mib(spans_mib),
        layout: LayoutView::Present,
    };
    let volume = VolumeView {
        image: Some(image),
        attached: None,
        signature: Signature::NotProbed,
        mounts: vec![7],
        filesystem: Some(filesystem),
        opened: Opened::NotLooked,
    };
    let kernel = Kernel { major: 6, minor: 18 };
    View { pool: pool(), volume, source: None, kernel, boot: boot("now"), mounts: vec![mount] }
}

fn pool() -> PoolView {
    PoolView {
        dir: PathBuf::from("/pool"),
        exists: true,
        id: None,
        dev_t: None,
        fs: "xfs".into(),
        total: Bytes::gib(1),
        free: Bytes::gib(1),
        inodes_total: 0,
        inodes_free: 0,
        file: PoolFileReading::Absent,
        writable: true,
        xattrs: true,
        reflink: true,
        quota: QuotaView::NotBtrfs,
        group: None,
        strangers: Vec::new(),
    }
}

fn staged(boot_text: &str) -> StageState {
    StageState::At { boot: boot(boot_text), target: STAGING.into() }
}

fn status(volume: &ValidVolume, standing: &Standing, view: Option<&View>) -> StorageVolumeStatus {
    let place = Place { pool: "fast".into(), tier: Some("ssd".into()), backend: "file".into() };
    let pressure = Pressure::Unknown;
    let facts = Facts {
        volume,
        generation: 4,
        standing,
        view,
        place: &place,
        usage: None,
        pressure: &pressure,
        health: Health::default(),
        operation: None,
    };
    plan_status(&facts, &StorageVolumeStatus::default(), Timestamp::UNIX_EPOCH)
}

fn said(status: &StorageVolumeStatus, kind: ConditionType) -> (&str, &str) {
    let found = find(&status.conditions, kind).expect("the node writes it");
    (found.reason.as_str(), found.message.as_str())
}

#[test]
fn a_staged_volume_is_in_use_and_one_from_before_the_reboot_is_not() {
    let now = view(400, 400, staged("now"));
    assert_eq!(status(&asked(400), &Standing::Made, Some(&now)).phase, Some(Phase::InUse));
    let before = view(400, 400, staged("before"));
    assert_eq!(status(&asked(400), &Standing::Made, Some(&before)).phase, Some(Phase::Ready));
    let never = view(400, 400, StageState::Never);
    assert_eq!(status(&asked(400), &Standing::Made, Some(&never)).phase, Some(Phase::Ready));
}

#[test]
fn i2_the_latch_is_mirrored_and_stays_when_the_host_cannot_be_seen() {
    let seen = status(&asked(400), &Standing::Made, Some(&view(400, 400, StageState::Never)));
    let filesystem = FsUuid(Uuid::from_u128(3)).to_string();
    assert_eq!(seen.formatted, Some(filesystem.clone()));
    let place = Place { pool: "fast".into(), tier: None, backend: "file".into() };
    let volume = asked(400);
    let facts = Facts {
        volume: &volume,
        generation: 4,
        standing: &Standing::Made,
        view: None,
        place: &place,
        usage: None,
        pressure: &Pressure::Unknown,
        health: Health::default(),
        operation: None,
    };
    let blind = plan_status(&facts, &seen, Timestamp::UNIX_EPOCH);
    assert_eq!(blind.formatted, Some(filesystem));
    assert_eq!(blind.tier.as_deref(), Some("ssd"), "what was known is kept");
}

#[test]
fn a_filesystem_that_does_not_fill_its_image_is_said_to_follow() {
    let short = status(&asked(800), &Standing::Made, Some(&view(800, 400, staged("now"))));
    assert!(is_true(&short.conditions, ConditionType::Resizing));
    assert_eq!(said(&short, ConditionType::Resizing).0, "FilesystemGrowPending");
    let whole = status(&asked(800), &Standing::Made, Some(&view(800, 800, staged("now"))));
    assert!(!is_true(&whole.conditions, ConditionType::Resizing));
}

#[test]
fn what_could_not_be_made_has_no_size_and_says_why() {
    let message = "pool /pool has 1Mi free and 400Mi more are needed".to_owned();
    let standing = Standing::NotMade { reason: Reason::PoolFull, message: message.clone() };
    let empty = View { volume: VolumeView::default(), ..view(0, 0, StageState::Never) };
    let status = status(&asked(400), &standing, Some(&empty));
    assert_eq!((status.capacity.clone(), status.phase), (None, Some(Phase::Pending)));
    assert_eq!(said(&status, ConditionType::Ready), ("PoolFull", message.as_str()));
    let ready = find(&status.conditions, ConditionType::Ready).expect("there");
    assert_eq!(ready.observed_generation, Some(4), "the caller waits for this generation's word");
}

#[test]
fn a_volume_that_cannot_grow_goes_on_serving() {
    let message = "growing a mounted ext4 needs CAP_SYS_RESOURCE".to_owned();
    let standing = Standing::NotGrown { reason: Reason::FacilityMissing, message };
    let status = status(&asked(800), &standing, Some(&view(800, 400, staged("now"))));
    assert!(is_true(&status.conditions, ConditionType::Ready));
    assert_eq!(said(&status, ConditionType::Resizing).0, "FacilityMissing");
}

#[test]
fn the_nodes_part_is_the_nodes_part_alone() {
    let mut whole = status(&asked(400), &Standing::Made, Some(&view(400, 400, staged("now"))));
    let mine = whole.clone();
    whole.claim = Some("shop/data".into());
    let missing = Verdict::new(ConditionType::Missing, Truth::False, Reason::Found, "found");
    whole.conditions.insert(0, missing.against(&[], 4, Timestamp::UNIX_EPOCH));
    whole.conditions.reverse();
    assert_eq!(owned(&whole), mine, "whatever the order in which the server keeps the list");
}
