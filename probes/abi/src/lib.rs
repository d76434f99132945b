//! What the probe's parts agree on: the layout shared with its programs in the kernel, and the messages between it and the
//! node agent. Values alone: no I/O, no Kubernetes.

pub mod layout;
pub mod wire;
