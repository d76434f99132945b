//! csi-proto-rs
