//! The kinds of life that the lanes live, one a file. Each makes what it needs, uses it, and deletes all of it.

mod direct;
mod files;
mod group;
mod pool;
mod raw;

use anyhow::Result;

use crate::life::Life;

/// A kind of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum LifeKind {
    /// An image with xfs.
    Xfs,
    /// An image with ext4.
    Ext4,
    /// A subvolume.
    Btrfs,
    /// A raw block device, erased at its end.
    Block,
    /// Two volumes and their snapshots of one moment.
    Group,
    /// A Direct volume, kept and adopted.
    Direct,
    /// A pool, from a blank disk to its end.
    Pool,
}

impl LifeKind {
    pub(crate) const ALL: [Self; 7] =
        [Self::Xfs, Self::Ext4, Self::Btrfs, Self::Block, Self::Group, Self::Direct, Self::Pool];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Xfs => "xfs",
            Self::Ext4 => "ext4",
            Self::Btrfs => "btrfs",
            Self::Block => "block",
            Self::Group => "group",
            Self::Direct => "direct",
            Self::Pool => "pool",
        }
    }

    /// Lives it, from the first claim to the last trace.
    pub(crate) async fn live(self, life: &Life) -> Result<()> {
        match self {
            Self::Xfs => files::live(life, "crash-xfs", files::Growth::InUse).await?,
            Self::Ext4 => files::live(life, "crash-ext4", files::Growth::AtRest).await?,
            Self::Btrfs => files::live(life, "crash-btrfs", files::Growth::InUse).await?,
            Self::Block => raw::live(life).await?,
            Self::Group => group::live(life).await?,
            Self::Direct => direct::live(life).await?,
            Self::Pool => pool::live(life).await?,
        }
        life.is_gone_from_the_host().await
    }
}
