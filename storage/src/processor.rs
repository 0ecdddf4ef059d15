//! What RocksDB was compiled for (`.cargo/config.toml`), and so must be there: it chooses its checksum's instruction when it is
//! compiled, and a processor without it would end the process with a signal that says nothing.

/// What this processor lacks, and what to do about it.
#[cfg(target_arch = "x86_64")]
pub fn lacking() -> Option<&'static str> {
    let is_there = std::arch::is_x86_feature_detected!("sse4.2") && std::arch::is_x86_feature_detected!("pclmulqdq");
    (!is_there).then_some(
        "this processor lacks SSE 4.2 or PCLMULQDQ: give the virtual machine a newer model of processor (sse4_2 and pclmulqdq in /proc/cpuinfo)",
    )
}

/// Elsewhere it was compiled for nothing in particular.
#[cfg(not(target_arch = "x86_64"))]
pub fn lacking() -> Option<&'static str> {
    None
}
