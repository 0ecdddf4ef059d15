//! System, security and audit administration (三员分立): three posts that no person holds two of, and
//! that sign only with a second factor (002-21; 004-11).
//!
//! The second factor is what the signer's `authentication` names. That it was really asked for is
//! the client's word, signed: the ledger keeps it, so that a false word can be held against someone.
//!
//! A ledger without an authority of its own knows none of this: its posts are whatever its policy says.

use crate::directory::Directory;
use crate::fatal::{Stop, refuse};
use crate::reason::Reason;
use vermilion_proto::{Operator, Signer};

/// Connects what is admitted, and keeps it running.
pub const SYSTEM_ADMIN: &str = "system-admin";
/// Bans, disconnects, revokes lost keys.
pub const SECURITY_ADMIN: &str = "security-admin";
/// Reads what the others did, and changes nothing.
pub const AUDIT_ADMIN: &str = "audit-admin";
/// The three.
pub const ADMIN_POSTS: [&str; 3] = [SYSTEM_ADMIN, SECURITY_ADMIN, AUDIT_ADMIN];

fn is_admin(post: &str) -> bool {
    ADMIN_POSTS.contains(&post)
}

/// Refuses an administrator's signature without a second factor.
pub(crate) fn check_signer(signer: &Signer) -> Result<(), Stop> {
    let second = signer.authentication.as_ref().is_some_and(|a| a.second_factor != 0);
    if is_admin(&signer.post) && !second {
        return refuse(Reason::SecondFactorMissing, format!("signer in the post {}", signer.post));
    }
    Ok(())
}

/// Refuses a key with which one person would hold two of the three posts, under this key or under
/// another that is in force.
pub(crate) fn check_operator<'a>(operator: &'a Operator, others: impl Iterator<Item = &'a Operator>) -> Result<(), Stop> {
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
