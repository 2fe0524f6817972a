//! Compiles the contracts with `protox`, a Protobuf compiler in Rust, so that no `protoc` is needed.

use std::error::Error;
use std::path::PathBuf;

use prost::Message as _;

const CONTRACTS: [&str; 6] = [
    "meridian/config/v1/config.proto",
    "meridian/admin/v1/admin.proto",
    "meridian/raft/v1/command.proto",
    "meridian/raft/v1/row.proto",
    "meridian/raft/v1/peer.proto",
    "vendor/statsig/statsig_forward_proxy.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    for folder in ["meridian", "vendor"] {
        println!("cargo::rerun-if-changed={folder}");
    }
    let descriptors = protox::compile(CONTRACTS, ["."])?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    // Documents and log entries are large: as `Bytes` they are slices of the received buffer, not copies.
    tonic_prost_build::configure().bytes(".meridian").compile_fds(descriptors)?;
    Ok(())
}
