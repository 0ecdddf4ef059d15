//! How to talk to a cluster that was left up.

use super::show::Show;
use crate::description::Testnet;
use std::path::{Path, PathBuf};
use vermilion_client::client::Client;
use vermilion_crypto::Digest;

/// The path of a program beside this one.
fn beside(name: &str) -> String {
    let path = std::env::current_exe().map_or_else(|_| PathBuf::from(name), |me| me.with_file_name(name));
    path.display().to_string()
}

/// Prints exact commands: for the client, for REST, to stop.
pub fn say(show: &Show, dir: &Path, testnet: &Testnet, client: &Client, identifier: &str, command: &Digest) {
    let vermilion = format!("{} --config {}", beside("vermilion"), testnet.client.display());
    let http = testnet.nodes.first().map_or("", |n| n.http.as_str());
    let command = hex::encode(command);
    show.line("\n集群仍在运行  The cluster is up. To talk to it:\n");
    for rest in [
        "cluster status".to_owned(),
        format!("licence status {identifier}"),
        format!("licence show {identifier}"),
        format!("verify {identifier} --case 2026-18 --purpose 核验 --item 00044A"),
        format!("use {identifier} --case 2026-18 --purpose 开立账户 --item 00044A --fields premises,items"),
        format!("licence issue --file {}", dir.join("licences.jsonl").display()),
        format!("receipt get {identifier} --out {}", dir.join("receipts/mine.vmr").display()),
        format!("receipt check {}", dir.join("receipts/mine.vmr").display()),
        "audit --node".to_owned(),
    ] {
        show.line(&format!("{vermilion} {rest}"));
    }
    show.line("\n接口  REST, at any node:\n");
    for path in [
        format!("licences/{identifier}/status"),
        format!("receipts/{command} --output revocation.vmr"),
        "checkpoint".to_owned(),
        "ready".to_owned(),
        "openapi.json".to_owned(),
    ] {
        show.line(&format!("curl http://{http}/v1/{path}"));
    }
    show.line(&format!("curl http://{http}/metrics"));
    show.line(&format!("\n账本  ledger {}", hex::encode(client.ledger_id())));
    show.line("\n停止  To stop it (the data stays):\n");
    show.line(&format!("{} down --dir {}", beside("vermilion-testnet"), dir.display()));
}
