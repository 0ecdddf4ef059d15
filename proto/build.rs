//! Compiles the `.proto` files without `protoc`.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["command", "ledger", "state", "service", "founding"].map(|f| format!("proto/vermilion/v1/{f}.proto"));
    println!("cargo::rerun-if-changed=proto");
    let set = protox::compile(files, ["proto"])?;
    // Shared buffers where megabytes pass: a submission is one buffer from the socket to the log.
    let shared = [
        "Submission.envelope",
        "Beside",
        "SubmitRequest.submission",
        "Block.body",
        "BlockBody.submissions",
        "Record.envelope",
        "StoredRecord.record",
        "StoredRecord.items",
        "RaftFrame.messages",
    ];
    let shared = shared.iter().fold(tonic_prost_build::configure(), |builder, field| builder.bytes(format!(".vermilion.v1.{field}")));
    shared.compile_fds(set)?;
    Ok(())
}
