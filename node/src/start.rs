//! Which node this is: what its configuration, keys and genesis must say alike before it runs, and what its directory must
//! say besides.

use crate::config::{Config, ConfigError};
use crate::keys::NodeKeys;
use crate::node::Start;
use vermilion_proto::{Genesis, GenesisNode, Message as _, StoredRecord};
use vermilion_registry::{Registry, pinned, query};
use vermilion_storage::{Commit, Store};

fn value(key: &'static str, why: impl Into<String>) -> ConfigError {
    ConfigError::Value { key, why: why.into() }
}

/// The genesis that the configuration names: the exact bytes, and what they say.
pub fn read_genesis(config: &Config) -> Result<(Vec<u8>, Genesis), ConfigError> {
    let path = &config.genesis;
    let payload = std::fs::read(path).map_err(|source| ConfigError::Read { path: path.clone(), source }.of("genesis"))?;
    let genesis = pinned::read_genesis(&payload).ok_or_else(|| value("genesis", format!("{} is no genesis", path.display())))?;
    Ok((payload, genesis))
}

/// This node's entry in the genesis; none of a node that was admitted later, which says the id of its application.
pub fn founder<'a>(config: &Config, genesis: &'a Genesis) -> Result<Option<&'a GenesisNode>, ConfigError> {
    let found = genesis.nodes.iter().find(|n| n.name == config.name && config.raft_id.is_none_or(|id| id == n.raft_id));
    if found.is_none() && config.raft_id.is_none() {
        let names: Vec<&str> = genesis.nodes.iter().map(|n| n.name.as_str()).collect();
        let later = "of a node that joins later, raft_id says the --id of its application (`vermilion admission apply`)";
        return Err(value("name", format!("the genesis knows no node {:?}, but {}; {later}", config.name, names.join(", "))));
    }
    Ok(found)
}

/// Whether configuration and keys can be of a node of this ledger, as far as the genesis tells: before the node starts, and
/// before a node that joins asks for anything.
pub fn check(config: &Config, keys: &NodeKeys) -> Result<(), ConfigError> {
    let (_, genesis) = read_genesis(config)?;
    match founder(config, &genesis)? {
        Some(me) => check_keys(keys, me, &genesis),
        None => check_lookup(keys, &genesis),
    }
}

/// Whether these are the node's keys, those that stand in the genesis or in the state.
pub(crate) fn check_keys(keys: &NodeKeys, me: &GenesisNode, genesis: &Genesis) -> Result<(), ConfigError> {
    check_own(&keys.node.public().0, &keys.cosigning.public().0, me)?;
    check_lookup(keys, genesis)?;
    // Which of them serves, records say: a key may be here before the one that endorses it.
    if !keys.ledger.is_empty() && !me.city {
        return Err(value("keys.ledger", "the ledger key belongs on the city's nodes alone"));
    }
    Ok(())
}

/// Whether a node's two own keys, public, are those of its entry.
pub(crate) fn check_own(node: &[u8], cosigning: &[u8], me: &GenesisNode) -> Result<(), ConfigError> {
    if node != me.node_key {
        return Err(value("keys.node", "not the key that the genesis names for this node"));
    }
    if cosigning != me.cosigning_key {
        return Err(value("keys.cosigning", "not the key that the genesis names for this node"));
    }
    Ok(())
}

fn check_lookup(keys: &NodeKeys, genesis: &Genesis) -> Result<(), ConfigError> {
    match keys.lookup.as_ref().is_some_and(|key| key.commitment()[..] != genesis.lookup_key_digest) {
        true => Err(value("keys.lookup", "not the key that the genesis commits to")),
        false => Ok(()),
    }
}

/// What is known of this node: by the genesis, by the state, or, while it joins, by its own configuration.
pub(crate) fn own_entry(config: &Config, keys: &NodeKeys, genesis: &Genesis, store: &Store) -> Result<GenesisNode, String> {
    if let Some(node) = founder(config, genesis).map_err(|e| e.to_string())? {
        return Ok(node.clone());
    }
    // Who is no founder has one.
    let id = config.raft_id.ok_or("raft_id: it is missing")?;
    let known = query::nodes(&store.state()).map_err(|e| e.to_string())?.into_iter().find(|n| n.raft_id == id);
    match known {
        Some(node) if node.name == config.name => Ok(node),
        Some(node) => Err(format!("raft_id: {id} is node {}, not {}", node.name, config.name)),
        None => Ok(GenesisNode {
            raft_id: id,
            name: config.name.clone(),
            node_key: keys.node.public().0.to_vec(),
            cosigning_key: keys.cosigning.public().0.to_vec(),
            peer_address: config.grpc.clone(),
            city: !keys.ledger.is_empty(),
            ..Default::default()
        }),
    }
}

/// Writes the genesis record into a new directory.
pub(crate) fn initialise(store: &Store, payload: &[u8], genesis: &Genesis, me: &GenesisNode, how: Start) -> Result<(), String> {
    match store.node().map_err(|e| e.to_string())? {
        Some(id) if id == me.raft_id => return Ok(()),
        Some(id) => return Err(format!("the directory belongs to node {id}, not to {} ({})", me.raft_id, me.name)),
        None => {}
    }
    let founder = genesis.nodes.iter().any(|n| n.raft_id == me.raft_id);
    if founder == (how == Start::Join) {
        return Err(match how {
            Start::Join => format!("{} is a founder and joins nothing: a founder whose disk was lost comes back under a new id", me.name),
            Start::Run => format!("the directory is empty, and {} is not in the genesis: it begins with `vermiliond join`", me.name),
        });
    }
    // The group as of the first entry of the log, which a node that joins is no part of.
    let voters: Vec<u64> = genesis.nodes.iter().map(|n| n.raft_id).collect();
    // A start that was cut off after the genesis was written and before the node was named.
    if query::head(&store.state()).map_err(|e| e.to_string())?.is_some() {
        return store.init(me.raft_id, &voters, &Commit::default()).map_err(|e| e.to_string());
    }
    let effects = Registry::genesis(payload, &store.state()).map_err(|e| e.to_string())?;
    let mut commit = Commit { state: effects.writes, applied: Some((0, 0)), manifest: effects.head.encode_to_vec(), ..Default::default() };
    for record in effects.records {
        let stored = StoredRecord { format_version: 1, record: record.bytes.into(), items: Vec::new(), chain: record.chain.to_vec() };
        commit.records.push((record.seq, stored.encode_to_vec()));
    }
    store.init(me.raft_id, &voters, &commit).map_err(|e| e.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn who_is_no_founder_says_under_which_id_it_was_applied_for() {
        let node = |raft_id, name: &str| GenesisNode { raft_id, name: name.into(), ..GenesisNode::default() };
        let genesis = Genesis { nodes: vec![node(1, "city"), node(2, "futian")], ..Genesis::default() };
        let found = |text: &str| {
            let rest = "data_dir = 'd'\ngenesis = 'g'\ngrpc = 'a'\nhttp = 'b'\n[keys]\nnode = 'n'\ncosigning = 'c'\n";
            let config: Config = toml::from_str(&format!("{text}\n{rest}")).unwrap();
            founder(&config, &genesis).map(|found| found.map(|n| n.raft_id)).map_err(|e| e.to_string())
        };
        assert_eq!(found("name = 'futian'"), Ok(Some(2)));
        assert_eq!(found("name = 'futian'\nraft_id = 2"), Ok(Some(2)));
        // A founder that came back after a ban, and one that joined.
        assert_eq!(found("name = 'futian'\nraft_id = 5"), Ok(None));
        assert_eq!(found("name = 'nanshan'\nraft_id = 4"), Ok(None));
        let why = found("name = 'nanshan'").unwrap_err();
        assert!(why.starts_with("name: ") && why.contains("city, futian") && why.contains("raft_id"), "{why}");
    }
}
