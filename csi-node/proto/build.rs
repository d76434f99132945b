//! Compiles the `.proto` files with a Rust compiler (protox), so that no `protoc` is needed. Writes
//! only to `OUT_DIR`.

const INCLUDE: &str = "proto";
const FILES: &[&str] = &[
    "csi/v1/identity.proto",
    "csi/v1/controller.proto",
    "csi/v1/group.proto",
    "csi/v1/metadata.proto",
    "csi/v1/node.proto",
    "pluginregistration/api.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed={INCLUDE}");
    let descriptors = protox::compile(FILES, [INCLUDE])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
