//! Every decision of the operator as a function from values to values: no clock, no file, no client, no
//! random number (I9). What a function here returns is what the test's golden text, the Event and
//! `kubectl terrace explain` print.
//!
//! # Invariants
//! - The same world gives the same plan, in whatever order it is listed (`tests/laws.rs`).
//! - A plan that was carried out leaves nothing to do (`tests/laws.rs`).
//! - No pool is promised beyond its limit (`tests/laws.rs`).
//! - No effect deletes a volume that carries no stamp, unless no node ever had it (`tests/laws.rs`).

pub mod age;
pub mod bound;
pub mod capability;
pub mod capacity;
pub mod class;
pub mod create;
pub mod delete;
pub mod direct;
mod direct_claim;
pub mod direct_error;
pub mod effect;
pub mod effect_kind;
pub mod explain;
pub mod explain_claim;
pub mod explain_lost;
pub mod gone;
pub mod group;
pub mod grow;
pub mod heal;
pub mod health;
pub mod lifecycle;
pub mod listed;
pub mod meaning;
mod noticed;
pub mod observe;
pub mod parameters;
pub mod placement;
pub mod plan;
pub mod policy;
pub mod pool;
pub mod size;
pub mod snapshot;
pub mod space;
pub mod tiering;
pub mod topology;
pub mod volume;
mod volume_end;
pub mod world;
