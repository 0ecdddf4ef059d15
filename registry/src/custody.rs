//! System, security and audit administration (三员分立): three posts that no person holds two of, and
//! that sign only with a second factor (002-21; 004-11).
//!
//! The second factor is a second key of the same person, registered in the post [`SECOND_KEY`] and kept
//! elsewhere, on a token as a rule: it signs the same command in a line of its own. So every node and
//! every auditor sees both, and whoever stole one file has nothing. A one-time password would be the
//! word of the node that asked for it; it is not honoured.
//!
//! A ledger without an authority of its own knows none of this: its posts are whatever its policy says.

use crate::directory::Directory;
use crate::fatal::{Stop, refuse};
use crate::reason::Reason;
use std::collections::BTreeSet;
use vermilion_proto::{Operator, Signer};

/// Connects what is admitted, and keeps it running.
pub const SYSTEM_ADMIN: &str = "system-admin";
/// Bans, disconnects, revokes lost keys.
pub const SECURITY_ADMIN: &str = "security-admin";
/// Reads what the others did, and changes nothing.
pub const AUDIT_ADMIN: &str = "audit-admin";
/// The three.
pub const ADMIN_POSTS: [&str; 3] = [SYSTEM_ADMIN, SECURITY_ADMIN, AUDIT_ADMIN];
/// The post of a key that signs beside its person's other key, and nothing alone.
pub const SECOND_KEY: &str = "second-key";
/// `Authentication.second_factor` of a signer whose second key signs too.
pub const BY_SECOND_KEY: u32 = 2;

/// Whether a post is one of the three, which sign with a second key only.
#[must_use]
pub fn is_admin(post: &str) -> bool {
    ADMIN_POSTS.contains(&post)
}

/// Whether a signer's line is that of a second key.
pub(crate) fn is_second(signer: &Signer) -> bool {
    signer.post == SECOND_KEY
}

/// Checks the second factors of a command: `signers` with the tag of each one's person. Administrators
/// have one; whoever says that he has one has it; nobody's second key stands alone.
pub(crate) fn check_signers(signers: &[(&Signer, &[u8])]) -> Result<(), Stop> {
    let mut seconds = BTreeSet::new();
    for (_, person) in signers.iter().filter(|(line, _)| is_second(line)) {
        if !signers.iter().any(|(line, of)| of == person && !is_second(line)) {
            return refuse(Reason::PostMissing, "a second key signs beside another key of its person");
        }
        if !seconds.insert(*person) {
            return refuse(Reason::SamePerson, "two second keys are one person's");
        }
    }
    for (line, person) in signers.iter().filter(|(line, _)| !is_second(line)) {
        let stated = line.authentication.as_ref().map_or(0, |a| a.second_factor);
        if !matches!(stated, 0 | BY_SECOND_KEY) {
            return refuse(Reason::NotYetHonoured, "signer.authentication.second_factor: a second key is the only one");
        }
        if (is_admin(&line.post) || stated == BY_SECOND_KEY) && !(stated == BY_SECOND_KEY && seconds.contains(person)) {
            return refuse(Reason::SecondFactorMissing, format!("signer in the post {}", line.post));
        }
    }
    Ok(())
}

/// Strikes the posts of administration from people without a second key: they could sign nothing in them.
pub(crate) fn strike_without_second(people: &mut [BTreeSet<&str>]) {
    for posts in people.iter_mut().filter(|posts| !posts.contains(SECOND_KEY)) {
        posts.retain(|post| !is_admin(post));
    }
}

/// Refuses a key with which one person would hold two of the three posts, under this key or under
/// another that is in force.
pub(crate) fn check_operator<'a>(operator: &'a Operator, others: impl Iterator<Item = &'a Operator>) -> Result<(), Stop> {
    if operator.posts.len() > 1 && operator.posts.iter().any(|post| post == SECOND_KEY) {
        return refuse(Reason::PostsIncompatible, "a second key has no other post");
    }
    let own = operator.posts.iter().map(String::as_str).filter(|p| is_admin(p));
    if own.clone().next().is_none() {
        return Ok(());
    }
    let same = others.filter(|o| o.person_tag == operator.person_tag);
    let mut held: Vec<&str> = own.chain(same.flat_map(|o| o.posts.iter().map(String::as_str)).filter(|p| is_admin(p))).collect();
    held.sort_unstable();
    held.dedup();
    if held.len() > 1 { refuse(Reason::PostsIncompatible, format!("one person would hold {}", held.join(" and "))) } else { Ok(()) }
}

/// Every operator whose key is not revoked.
pub(crate) fn in_force(directory: &Directory) -> impl Iterator<Item = &Operator> {
    directory.operators.values().filter(|s| !s.revoked).filter_map(|s| s.operator.as_ref())
}
