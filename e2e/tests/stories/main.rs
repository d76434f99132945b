//! Stories on the real node: each makes what it needs, waits with a deadline, and leaves nothing behind.
//! They share one cluster and take parts of it away: one at a time (`hack/test`).

mod capacity;
mod deletion;
mod direct;
mod faults;
mod growth;
mod life;
mod pools;
mod refusals;
mod standards;
