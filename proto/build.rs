//! Compiles the `.proto` files without `protoc`.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["command", "ledger", "state", "service"].map(|f| format!("proto/vermilion/v1/{f}.proto"));
    println!("cargo::rerun-if-changed=proto");
    let set = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure().compile_fds(set)?;
    Ok(())
}
