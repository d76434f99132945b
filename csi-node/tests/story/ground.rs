//! What a story's pool lies on: a folder, a filesystem of its own, or in a guest a volume group on its disks.

use terrace_backends::BackendKind;

use crate::bench::{Bench, text};
use crate::disks::{Disks, has_disks};

impl Bench {
    fn on_lvm() -> Self {
        Self::on_group(BackendKind::Lvm)
    }

    pub(crate) fn on_thin() -> Self {
        Self::on_group(BackendKind::LvmThin)
    }

    /// One whose pool is a volume group on the guest's disks.
    fn on_group(kind: BackendKind) -> Self {
        let disks = Disks::take();
        let mut bench = Self::bare();
        disks.make_pool(&bench.pool_file(kind), &bench.pool.dir);
        bench.disks = Some(disks);
        bench
    }

    /// One whose thin pool has not grown yet into what its group gained.
    pub(crate) fn on_thin_that_gains() -> Self {
        let disks = Disks::take();
        let mut bench = Self::bare();
        disks.make_pool_that_gains(&bench.pool_file(BackendKind::LvmThin), &bench.pool.dir);
        bench.disks = Some(disks);
        bench
    }

    /// What stories of deaths are told of: images, and in a guest with disks logical volumes of both kinds.
    pub(crate) fn grounds() -> &'static [fn() -> Self] {
        if has_disks() { &[Self::on_lvm, Self::on_thin] } else { &[Self::new] }
    }

    /// The same of copies: images with reflink, or thin logical volumes.
    pub(crate) fn copying() -> fn() -> Self {
        if has_disks() { Self::on_thin } else { Self::on_xfs }
    }

    /// One whose pool lies on an xfs of its own: with reflink, wherever this runs.
    pub(crate) fn on_xfs() -> Self {
        let bench = Self::on_disk("mkfs.xfs");
        bench.make_pool_of(BackendKind::File);
        bench
    }

    /// One whose pool is of subvolumes.
    pub(crate) fn on_btrfs() -> Self {
        let bench = Self::on_disk("mkfs.btrfs");
        bench.make_pool_of(BackendKind::Btrfs);
        bench
    }

    fn on_disk(mkfs: &str) -> Self {
        let bench = Self::bare();
        let (disk, pool) = (bench.path("disk"), &bench.pool.dir);
        let file = std::fs::File::create(&disk).expect("a file");
        file.set_len(2 << 30).expect("a sparse one");
        std::fs::create_dir(pool).expect("a folder");
        let (disk, pool) = (text(&disk), text(pool));
        for line in [[mkfs, "-q", &disk, ""], ["mount", "-oloop", &disk, &pool]] {
            let words = line.iter().skip(1).filter(|word| !word.is_empty());
            let ended = std::process::Command::new(line[0]).args(words).output();
            let ended = ended.expect("a program");
            assert!(ended.status.success(), "{line:?}: {ended:?}");
        }
        bench
    }
}
