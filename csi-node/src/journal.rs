//! The journal: which operations have begun and are not over, and where the node's pools lie. One redb
//! file, every write durable before it returns (I3). What the host says wins over it: a journal that
//! cannot be read is set aside and costs no data, because tags on the host objects hold what matters.

pub mod record;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};
use terrace_device_types::{Class, PoolUuid};

use crate::queue::schedule::OpId;
use record::{Record, Subject};

const OPERATIONS: TableDefinition<&str, &[u8]> = TableDefinition::new("operations");
const POOLS: TableDefinition<&str, &[u8]> = TableDefinition::new("pools");

/// Why the journal did not do what it was asked. The cause is redb's own, boxed for its size.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be opened or made, and not because of what is in it.
    #[error("open journal {path}", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What redb said.
        source: Box<redb::Error>,
    },
    /// A journal that cannot be read cannot be set aside either.
    #[error("set journal {path} aside", path = path.display())]
    SetAside {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A read failed.
    #[error("read the journal")]
    Read(#[source] Box<redb::Error>),
    /// A write failed; nothing of it is there.
    #[error("write the journal")]
    Write(#[source] Box<redb::Error>),
    /// A record cannot be written as JSON.
    #[error("encode a journal record")]
    Encode(#[source] serde_json::Error),
}

impl Error {
    /// A full or failing disk may recover; the rest is ours.
    #[must_use]
    pub const fn class(&self) -> Class {
        match self {
            Self::Open { .. } | Self::SetAside { .. } | Self::Read(_) | Self::Write(_) => {
                Class::Retry
            }
            Self::Encode(_) => Class::Bug,
        }
    }
}

/// Where a pool of this node lies: what is needed to serve its volumes while the API server is away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KnownPool {
    /// Its UUID on this node.
    pub uuid: PoolUuid,
    /// Name of the StoragePool.
    pub name: String,
    /// Its directory.
    pub dir: PathBuf,
    /// The disk mounted there, by its lasting id, if it has one of its own.
    pub device: Option<String>,
    /// The disks of its volume group, by their lasting ids, if it is one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
}

/// How the journal was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// There was none.
    New,
    /// It was read.
    Read,
    /// It could not be read and lies now at this path; a new one was begun.
    SetAside(PathBuf),
}

/// The open journal.
#[derive(Debug)]
pub struct Journal {
    database: Database,
}

impl Journal {
    /// Opens the journal at `path`, or begins one. `now` names the file that an unreadable one becomes.
    ///
    /// # Errors
    /// Only if the disk does not let us: what is in the file never stops a start.
    pub fn open(path: &Path, now: jiff::Timestamp) -> Result<(Self, Found), Error> {
        let found = if path.exists() { Found::Read } else { Found::New };
        match read_whole(path) {
            Ok(database) => Ok((Self { database }, found)),
            Err(Unreadable::Disk(source)) => {
                Err(Error::Open { path: path.to_owned(), source: Box::new(source) })
            }
            Err(Unreadable::Content(why)) => {
                let aside = set_aside(path, now)?;
                tracing::error!(
                    why,
                    aside = %aside.display(),
                    "the journal cannot be read: set aside, a new one is begun; host tags hold the truth"
                );
                let open = |source| Error::Open { path: path.to_owned(), source: Box::new(source) };
                let database = begin(path).map_err(open)?;
                Ok((Self { database }, Found::SetAside(aside)))
            }
        }
    }

    /// Remembers an operation that begins. An older one on the same volume (or pool) is forgotten: who
    /// begins holds the locks, so the older is over and the new plan has met what it left.
    ///
    /// # Errors
    /// [`Error`]; nothing is changed.
    pub fn begin(&self, record: &Record) -> Result<(), Error> {
        let older = self.left_of(&record.subject)?;
        let json = serde_json::to_vec(record).map_err(Error::Encode)?;
        self.write(|transaction| {
            let mut table = transaction.open_table(OPERATIONS)?;
            for key in &older {
                table.remove(key.as_str())?;
            }
            table.insert(record.id.to_string().as_str(), json.as_slice())?;
            Ok(())
        })
    }

    /// Forgets what is left of older operations on an object of which a plan found nothing left to do. Such a
    /// record is of an operation whose end could not be written; at the next start it would take back what is in use.
    ///
    /// # Errors
    /// [`Error`].
    pub fn settle(&self, subject: &Subject) -> Result<(), Error> {
        let older = self.left_of(subject)?;
        if older.is_empty() {
            return Ok(());
        }
        self.write(|transaction| {
            let mut table = transaction.open_table(OPERATIONS)?;
            for key in &older {
                table.remove(key.as_str())?;
            }
            Ok(())
        })
    }

    /// Keys of the operations on the same object.
    fn left_of(&self, subject: &Subject) -> Result<Vec<String>, Error> {
        let older = self.open_operations()?;
        let older = older.iter().filter(|older| older.subject.is_same_object(subject));
        Ok(older.map(|older| older.id.to_string()).collect())
    }

    /// Remembers where an operation stands now.
    ///
    /// # Errors
    /// [`Error::Write`], [`Error::Encode`].
    pub fn put(&self, record: &Record) -> Result<(), Error> {
        self.insert(OPERATIONS, &record.id.to_string(), record)
    }

    /// Forgets an operation that is over.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn remove(&self, id: OpId) -> Result<(), Error> {
        let key = id.to_string();
        self.write(|transaction| {
            transaction.open_table(OPERATIONS)?.remove(key.as_str())?;
            Ok(())
        })
    }

    /// Every operation that is not over, in no particular order.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn open_operations(&self) -> Result<Vec<Record>, Error> {
        self.values(OPERATIONS)
    }

    /// Remembers where a pool lies.
    ///
    /// # Errors
    /// [`Error::Write`], [`Error::Encode`].
    pub fn put_pool(&self, pool: &KnownPool) -> Result<(), Error> {
        self.insert(POOLS, &pool.uuid.to_string(), pool)
    }

    /// Forgets a pool; its directory and volumes stay as they are.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn remove_pool(&self, uuid: PoolUuid) -> Result<(), Error> {
        let key = uuid.to_string();
        self.write(|transaction| {
            transaction.open_table(POOLS)?.remove(key.as_str())?;
            Ok(())
        })
    }

    /// Every pool it remembers.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn pools(&self) -> Result<Vec<KnownPool>, Error> {
        self.values(POOLS)
    }

    fn insert<T: Serialize>(
        &self,
        table: TableDefinition<'_, &str, &[u8]>,
        key: &str,
        value: &T,
    ) -> Result<(), Error> {
        let json = serde_json::to_vec(value).map_err(Error::Encode)?;
        self.write(|transaction| {
            transaction.open_table(table)?.insert(key, json.as_slice())?;
            Ok(())
        })
    }

    fn write(
        &self,
        change: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), Error> {
        let run = || {
            let transaction = self.database.begin_write()?;
            change(&transaction)?;
            transaction.commit()?;
            Ok(())
        };
        run().map_err(|source: redb::Error| Error::Write(Box::new(source)))
    }

    fn values<T: for<'a> Deserialize<'a>>(
        &self,
        table: TableDefinition<'_, &str, &[u8]>,
    ) -> Result<Vec<T>, Error> {
        let run = || {
            let table = self.database.begin_read()?.open_table(table)?;
            let mut values = Vec::new();
            for entry in table.iter()? {
                let (key, value) = entry?;
                match serde_json::from_slice(value.value()) {
                    Ok(value) => values.push(value),
                    Err(error) => {
                        tracing::error!(key = key.value(), %error, "a journal record is unreadable");
                    }
                }
            }
            Ok(values)
        };
        run().map_err(|source: redb::Error| Error::Read(Box::new(source)))
    }
}

/// Why a file is no journal.
enum Unreadable {
    /// The disk's fault.
    Disk(redb::Error),
    /// The content's.
    Content(String),
}

/// Opens the file and reads every record once, so that damage shows now and not in the middle of an
/// operation. redb may panic on a damaged file; that too is "unreadable".
fn read_whole(path: &Path) -> Result<Database, Unreadable> {
    let read = catch_unwind(AssertUnwindSafe(|| {
        let mut database = begin(path)?;
        // Checksums of the whole file: it is a few pages.
        database.check_integrity()?;
        let transaction = database.begin_read()?;
        for table in [OPERATIONS, POOLS] {
            for entry in transaction.open_table(table)?.iter()? {
                entry?;
            }
        }
        drop(transaction);
        Ok::<Database, redb::Error>(database)
    }));
    match read {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(error)) if is_content(&error) => Err(Unreadable::Content(error.to_string())),
        Ok(Err(error)) => Err(Unreadable::Disk(error)),
        Err(_) => Err(Unreadable::Content("the database code panicked on it".to_owned())),
    }
}

fn is_content(error: &redb::Error) -> bool {
    match error {
        redb::Error::Io(io) => {
            matches!(io.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof)
        }
        redb::Error::DatabaseAlreadyOpen => false,
        // Everything else redb can say here is about what it found in the file.
        _ => true,
    }
}

fn begin(path: &Path) -> Result<Database, redb::Error> {
    let database = Database::create(path)?;
    let transaction = database.begin_write()?;
    transaction.open_table(OPERATIONS)?;
    transaction.open_table(POOLS)?;
    transaction.commit()?;
    Ok(database)
}

fn set_aside(path: &Path, now: jiff::Timestamp) -> Result<PathBuf, Error> {
    let aside = path.with_extension(format!("unreadable-{}", now.as_millisecond()));
    std::fs::rename(path, &aside)
        .map_err(|source| Error::SetAside { path: path.to_owned(), source })?;
    Ok(aside)
}

#[cfg(test)]
mod tests;
