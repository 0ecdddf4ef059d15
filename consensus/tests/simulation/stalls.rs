//! What hangs or is lost without a word, and how soon the group goes on all the same.

use vermilion_consensus::{DriverConfig, NodeId};

use crate::node::Bug;
use crate::world::{Event, TICK, World};

const SEEDS: u64 = 40;

/// A whole group at work, to which nothing happens but what a test does to it.
fn at_work(seed: u64, founders: u64) -> World {
    let mut world = World::new(seed, founders, false, Bug::None);
    world.chaos = false;
    for node in 0..world.nodes.len() {
        world.after(node as u64, Event::Start { node });
    }
    // All but the clerk: nobody joins or leaves.
    for client in 0..world.clients.len() - 1 {
        world.turn(client, 400);
    }
    until(&mut world, 100, "works", |w| w.leader().is_some() && w.oracle.history.len() > 50);
    world
}

/// Goes on until something is so, for so many election time-outs at most.
fn until(world: &mut World, timeouts: u64, what: &str, is: impl Fn(&World) -> bool) {
    let end = world.now + timeouts * TICK * DriverConfig::new(1, 0).election_ticks as u64;
    while !is(world) {
        assert!(world.now < end, "seed {}: it never {what}", world.seed);
        world.next().unwrap();
    }
}

#[test]
fn a_leader_whose_disk_hangs_is_followed_by_one_that_commits() {
    for seed in 0..SEEDS {
        let mut world = at_work(seed, if seed % 2 == 0 { 3 } else { 5 });
        let hung = world.leader().unwrap();
        world.nodes[hung].hangs_until = u64::MAX / 2;
        until(&mut world, 5, "gets another leader", |w| w.leader() != Some(hung));
        let told = world.oracle.acknowledged.len();
        until(&mut world, 5, "answers again", |w| w.oracle.acknowledged.len() > told + 20);
        // As long as its disk hangs it does not come back as leader, whatever becomes of the others.
        let end = world.now + 5_000;
        while world.now < end {
            world.next().unwrap();
            assert_ne!(world.leader(), Some(hung), "seed {seed}");
        }
        // The machine is started again, with a disk that works.
        world.clients.resting = true;
        world.nodes[hung].hangs_until = 0;
        world.crash(hung).unwrap();
        until(&mut world, 300, "comes to rest", World::converged);
        world.nodes.iter().enumerate().for_each(|(i, n)| world.oracle.complete(&n.machine, i).unwrap());
    }
}

/// With one of three down already nobody can lead without the disk that hangs: the leader stays, and goes on once it is back.
#[test]
fn a_leader_without_whom_there_is_no_majority_stays() {
    for seed in 0..SEEDS {
        let mut world = at_work(seed, 3);
        let hung = world.leader().unwrap();
        let term = world.nodes[hung].driver.as_ref().unwrap().status().term;
        let other = (hung + 1) % 3;
        world.nodes[other].crash(0).unwrap();
        let back = world.now + 4_000;
        world.nodes[hung].hangs_until = back;
        while world.now < back {
            world.next().unwrap();
            assert_eq!(world.leader(), Some(hung), "seed {seed}");
        }
        let told = world.oracle.acknowledged.len();
        until(&mut world, 5, "answers again", |w| w.oracle.acknowledged.len() > told + 20);
        assert_eq!(world.nodes[hung].driver.as_ref().unwrap().status().term, term);
    }
}

#[test]
fn a_follower_gets_its_log_though_nobody_says_what_came_of_its_snapshots() {
    const LOST: u64 = 3;
    for seed in 0..SEEDS {
        let mut world = at_work(seed, 3);
        let leader = world.leader().unwrap();
        let behind = (leader + 1) % 3;
        let (from, to) = (leader as NodeId + 1, behind as NodeId + 1);
        for other in (1..=3).filter(|other| *other != to) {
            world.blocked.extend([(other, to), (to, other)]);
        }
        let last = world.nodes[behind].driver.as_ref().unwrap().status().last_index;
        until(&mut world, 200, "cuts its log off", |w| w.nodes[leader].disk.first_index() > last + 1);
        assert_eq!(world.leader(), Some(leader), "seed {seed}");
        world.unsaid = (to, LOST);
        world.blocked.clear();
        let there = world.nodes[leader].machine.applied.index;
        until(&mut world, 4 * LOST, "catches up", |w| w.nodes[behind].machine.applied.index >= there);
        assert_eq!((world.unsaid, world.leader()), ((to, 0), Some(from as usize - 1)), "seed {seed}: a snapshot was lost each time");
    }
}
