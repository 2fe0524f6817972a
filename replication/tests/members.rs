//! How nodes come and go: joining, votes, leaving for good, and what is refused on the way.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::time::Duration;

use meridian_model::{Document, Format, Mutation, Outcome};
use meridian_replication::{
    ChangeError, Fatal, ListedMember, MembersChanged, MembershipChange, NotReady, Readiness,
};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::support::{Cluster, DEADLINE, TOKEN, eventually, free_address, publish, web};
use MembershipChange::{Add, Demote, Promote, Remove, Replace};

mod support;

impl Cluster {
    /// Asks the leader, wherever it goes meanwhile, as a client would.
    async fn change(&self, change: MembershipChange, force: bool) -> Result<MembersChanged, ChangeError> {
        eventually("a leader decides about its members", async || {
            let mut answer = None;
            for handle in self.up.values() {
                match handle.change_members(change.clone(), force, false, "test".into(), DEADLINE).await {
                    // What came of an unknown one shows when it is asked for again.
                    Err(ChangeError::NotLeader { .. } | ChangeError::Busy | ChangeError::Unknown) => {}
                    decided => answer = Some(decided),
                }
            }
            answer
        })
        .await
    }

    /// A guest with a token that becomes a learner beside the founders, who all vote.
    async fn learner(&mut self, id: u64, region: &str) {
        self.invite(id, region, Some(TOKEN), false);
        self.start(id).await;
        let founders: Vec<u64> = self.founders.keys().copied().collect();
        self.members(&founders, &[id]).await;
    }

    /// Waits until these have a vote, and these are members without one, as every running node has it.
    async fn members(&self, voters: &[u64], learners: &[u64]) {
        let what = format!("voters are {voters:?} and learners {learners:?}");
        eventually(&what, async || {
            let right = |members: Vec<ListedMember>| {
                let of = |vote| -> Vec<u64> {
                    members
                        .iter()
                        .filter(|listed| listed.voter == vote)
                        .map(|listed| listed.node_id)
                        .collect()
                };
                of(true) == voters && of(false) == learners
            };
            self.up.values().all(|handle| right(handle.members())).then_some(())
        })
        .await;
    }

    async fn follower(&self) -> u64 {
        let leader = self.leader().await;
        (1..=3).find(|id| *id != leader).unwrap()
    }

    async fn failed(&self, id: u64) -> Fatal {
        timeout(DEADLINE, self.up[&id].failed()).await.unwrap()
    }

    fn waiting_for(&self, id: u64) -> String {
        match self.up[&id].readiness() {
            Readiness::NotReady(why @ NotReady::NoMembership { .. }) => why.to_string(),
            other => format!("{other:?}"),
        }
    }

    fn journal(&self, id: u64) -> Vec<String> {
        let view = self.up[&id].catalog().view();
        view.directory.fleet().events().map(|(_, event)| format!("{}: {}", event.actor, event.text)).collect()
    }
}

fn refusal(answer: Result<MembersChanged, ChangeError>) -> String {
    match answer {
        Err(ChangeError::Refused(rules)) => rules.join("; "),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_the_token_becomes_a_learner_and_stays_one() {
    let mut cluster = Cluster::started(3).await;
    let at = web();
    cluster.create(&at).await;
    cluster.publish(&at, "1").await;
    cluster.learner(4, "eu-west").await;
    cluster.served(4, &at, "1").await;
    eventually("it is ready", async || cluster.up[&4].readiness().is_ready().then_some(())).await;
    eventually("the journal says so", async || {
        cluster
            .journal(4)
            .iter()
            .any(|line| line.contains("cluster: members: node 4 joined, eu-west/a"))
            .then_some(())
    })
    .await;

    // It needs no seed and no token once it is in.
    cluster.stop(4).await;
    cluster.publish(&at, "2").await;
    let guest = cluster.guests.get_mut(&4).unwrap();
    (guest.join.seeds, guest.join.token) = (Vec::new(), None);
    cluster.start(4).await;
    cluster.served(4, &at, "2").await;
    cluster.members(&[1, 2, 3], &[4]).await;
    cluster.agree().await;
}

/// A node that is refused for good says why, and stops.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_cannot_be_let_in_is_told_so() {
    let mut cluster = Cluster::started(3).await;
    let regions = ["us-east", "eu-west", "ap-south"].map(|region| region.parse().unwrap()).to_vec();
    let placement = Mutation::SetPlacement { regions, repair_after_ms: None, expect_version: None };
    assert_eq!(cluster.propose(placement).await.1, Outcome::Done);
    let leader = cluster.leader().await;
    cluster.stop((1..=3).find(|id| *id != leader).unwrap()).await;

    cluster.invite(11, "us-east", Some("let me out"), false);
    cluster.invite(12, "mars", Some(TOKEN), false);
    cluster.invite(13, "us-east", Some(TOKEN), false);
    cluster.guests.get_mut(&13).unwrap().cluster_id = "other".to_owned();
    cluster.invite(14, "us-east", Some(TOKEN), false);
    cluster.guests.get_mut(&14).unwrap().own.grpc_address = "nowhere".to_owned();
    for (id, why) in [
        (11, "token is wrong"),
        (12, "region mars is not in the placement, which has us-east, eu-west, ap-south"),
        (14, "gRPC address"),
    ] {
        cluster.start(id).await;
        let fatal = cluster.failed(id).await;
        assert!(matches!(&fatal, Fatal::NotLetIn(text) if text.contains(why)), "{fatal}");
        assert!(!cluster.up[&id].readiness().is_ready());
    }
    // The seed that is down might know better.
    let listed = cluster.guests.get_mut(&13).unwrap();
    listed.join.seeds.retain(|seed| *seed == cluster.founders[&leader].peer_address);
    cluster.start(13).await;
    let fatal = cluster.failed(13).await;
    assert!(
        matches!(&fatal, Fatal::NotLetIn(text) if text.contains("belongs to cluster \"test\"")),
        "{fatal}"
    );
    assert_eq!(cluster.up[&leader].members().len(), 3);
}

/// Two data directories never have one id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_is_taken_is_not_given_again() {
    let mut cluster = Cluster::started(3).await;
    cluster.learner(4, "eu-west").await;
    let first = cluster.guests.remove(&4).unwrap();
    let running = cluster.up.remove(&4).unwrap();
    cluster.invite(4, "eu-west", Some(TOKEN), false);
    cluster.start(4).await;
    let fatal = cluster.failed(4).await;
    assert!(matches!(&fatal, Fatal::NotLetIn(why) if why.contains("another data directory")), "{fatal}");
    eventually("it is ready", async || running.readiness().is_ready().then_some(())).await;
    assert_eq!(running.members()[3].member.peer_address, first.own.peer_address);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_token_waits_for_an_operator() {
    let mut cluster = Cluster::started(3).await;
    cluster.invite(4, "eu-west", None, false);
    cluster.start(4).await;
    let address = cluster.guests[&4].own.peer_address.clone();
    let expected = format!("an operator lets it in with `meridian member add {address}`");
    eventually("it says what it waits for", async || {
        cluster.waiting_for(4).contains(&expected).then_some(())
    })
    .await;
    assert_eq!(cluster.up[&1].members().len(), 3);

    let nobody = refusal(cluster.change(Add { peer_address: free_address() }, false).await);
    assert!(nobody.contains("does not reach it"), "{nobody}");
    let add = Add { peer_address: address };
    for _ in 0..2 {
        let added = cluster.change(add.clone(), false).await.unwrap();
        assert_eq!(added.members.len(), 4);
        assert!(!added.members[3].voter);
    }
    cluster.members(&[1, 2, 3], &[4]).await;
    eventually("it is ready", async || cluster.up[&4].readiness().is_ready().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn learners_that_want_a_vote_get_it_in_pairs() {
    let mut cluster = Cluster::started(3).await;
    let at = web();
    cluster.create(&at).await;
    cluster.invite(4, "us-east", Some(TOKEN), true);
    cluster.start(4).await;
    cluster.members(&[1, 2, 3], &[4]).await;
    let even = refusal(cluster.change(Promote(vec![4]), false).await);
    assert!(even.contains("4 voters") && even.contains("can be forced"), "{even}");
    cluster.invite(5, "eu-west", Some(TOKEN), true);
    cluster.start(5).await;
    cluster.members(&[1, 2, 3, 4, 5], &[]).await;

    // Between the two entries of a change the old voters count too. Asking for what is so waits for the end of it.
    let members =
        eventually("it is so", async || cluster.change(Promote(vec![4, 5]), false).await.ok()).await.members;
    assert!(members.iter().all(|listed| listed.voter), "{members:?}");
    // Any two may go now.
    let leader = cluster.leader().await;
    let other = (1..=5).find(|id| *id != leader).unwrap();
    cluster.stop(leader).await;
    cluster.stop(other).await;
    cluster.publish(&at, "1").await;
    cluster.start(leader).await;
    cluster.start(other).await;
    cluster.served(leader, &at, "1").await;

    // Who was demoted is not promoted again by itself.
    let demoted =
        eventually("enough voters answer", async || cluster.change(Demote(vec![4, 5]), false).await.ok())
            .await;
    let wants: BTreeSet<bool> = demoted.members[3..].iter().map(|listed| listed.member.wants_vote).collect();
    assert_eq!(wants, BTreeSet::from([false]), "{demoted:?}");
    cluster.members(&[1, 2, 3], &[4, 5]).await;
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_learner_that_lags_gets_no_vote_even_by_force() {
    let mut cluster = Cluster::started(3).await;
    let at = web();
    cluster.create(&at).await;
    cluster.learner(4, "us-east").await;
    cluster.stop(4).await;
    let mut seed = 1u64;
    for _ in 0..2 {
        let noise = (0..4_000_000 / 8).flat_map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed ^ (seed >> 29)).to_le_bytes()
        });
        let document = Document::seal(Format::Json, noise.collect::<Vec<u8>>().into());
        cluster.propose(publish(&at, document)).await;
    }
    let refused = refusal(cluster.change(Promote(vec![4]), true).await);
    assert!(refused.contains("behind") || refused.contains("does not answer"), "{refused}");
    cluster.members(&[1, 2, 3], &[4]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_removed_is_told_so_and_disturbs_nobody() {
    let mut cluster = Cluster::started(3).await;
    let at = web();
    cluster.create(&at).await;
    let removed = cluster.follower().await;
    let refused = refusal(cluster.change(Remove(vec![removed]), false).await);
    assert!(refused.contains("2 voters bear no more losses than 1"), "{refused}");

    // It is away when that is decided, and has only its old membership when it comes back.
    cluster.stop(removed).await;
    let forced = cluster.change(Remove(vec![removed]), true).await.unwrap();
    assert_eq!(forced.members.len(), 2, "{forced:?}");
    cluster.change(Remove(vec![removed]), false).await.unwrap();
    let leader = cluster.leader().await;
    let term = cluster.up[&leader].status().term;
    cluster.start(removed).await;
    let fatal = cluster.failed(removed).await;
    let text = fatal.to_string();
    assert!(matches!(fatal, Fatal::Removed { node_id, at_ms } if node_id == removed && at_ms > 0), "{text}");
    assert!(text.contains("UTC: move its data directory away, and join with a new node id"), "{text}");
    let own_term = cluster.up[&removed].status().term;
    assert!(own_term <= term, "it campaigned: its term is {own_term}, the others' was {term}");
    cluster.stop(removed).await;
    cluster.publish(&at, "1").await;

    // Nor does it come back with nothing, or under its old id.
    cluster.disks[removed as usize - 1] = TempDir::new().unwrap();
    cluster.start(removed).await;
    assert!(matches!(cluster.failed(removed).await, Fatal::Removed { .. }));
    cluster.stop(removed).await;
    let journal = cluster.journal(leader);
    let expected = format!("test: members: removed {removed} (forced: 2 voters");
    assert!(journal.iter().any(|line| line.starts_with(&expected)), "{journal:#?}");
    assert!(journal.contains(&format!("raft: node {removed} left the cluster for good")), "{journal:#?}");
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_can_be_removed() {
    let mut cluster = Cluster::started(3).await;
    let at = web();
    cluster.create(&at).await;
    let leader = cluster.leader().await;
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    // It hands over first, and somebody has to be there for that.
    let removed =
        eventually("it is removed", async || cluster.change(Remove(vec![leader]), true).await.ok()).await;
    assert_eq!(removed.members.iter().map(|listed| listed.node_id).collect::<Vec<_>>(), others);
    assert!(matches!(cluster.failed(leader).await, Fatal::Removed { .. }));
    cluster.stop(leader).await;
    cluster.members(&others, &[]).await;
    cluster.publish(&at, "1").await;
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_learner_takes_the_place_of_a_lost_voter() {
    let mut cluster = Cluster::started(3).await;
    let at = web();
    cluster.create(&at).await;
    let lost = cluster.follower().await;
    let region = cluster.founders[&lost].region.clone();
    cluster.invite(4, &region, Some(TOKEN), false);
    cluster.start(4).await;
    let staying: Vec<u64> = (1..=3).filter(|id| *id != lost).collect();
    cluster.members(&[1, 2, 3], &[4]).await;
    cluster.stop(lost).await;
    cluster.publish(&at, "1").await;
    cluster.served(4, &at, "1").await;
    let replaced = cluster.change(Replace { old: lost, new: 4 }, false).await.unwrap();
    assert_eq!(replaced.overridden, Vec::<String>::new());
    cluster.members(&[staying[0], staying[1], 4], &[]).await;
    cluster.publish(&at, "2").await;
    cluster.served(4, &at, "2").await;
    cluster.agree().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_vote_is_not_taken_away() {
    let cluster = Cluster::started(1).await;
    for change in [Remove(vec![1]), Demote(vec![1])] {
        let refused = refusal(cluster.change(change, true).await);
        assert_eq!(refused, "nobody would have a vote: promote another node first");
    }
    let refused = refusal(cluster.change(Promote(vec![7]), true).await);
    assert_eq!(refused, "node 7 is no member: members are 1");
    cluster.members(&[1], &[]).await;
}

/// Whatever it is: follower, learner or the only voter there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_reached_elsewhere_is_found_there() {
    let mut cluster = Cluster::started(1).await;
    let at = web();
    cluster.create(&at).await;
    cluster.learner(2, "eu-west").await;
    for (id, text) in [(2, "1"), (1, "2"), (2, "3")] {
        cluster.stop(id).await;
        let address = free_address();
        match cluster.guests.get_mut(&id) {
            Some(guest) => guest.own.peer_address = address.clone(),
            None => {
                let founder = cluster.founders.get_mut(&id).unwrap();
                (founder.peer_address, founder.grpc_address) = (address.clone(), "grpc-of-1:1".to_owned());
            }
        }
        cluster.start(id).await;
        cluster.publish(&at, text).await;
        cluster.served(2, &at, text).await;
        eventually("everybody knows its new address", async || {
            let known = |members: Vec<ListedMember>| members[id as usize - 1].member.peer_address == address;
            cluster.up.values().all(|handle| known(handle.members())).then_some(())
        })
        .await;
    }
    cluster.agree().await;
}

/// It had time to find that it is silent, and asks for another reason then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_moved_while_nobody_led_is_found_later() {
    let mut cluster = Cluster::started(1).await;
    let at = web();
    cluster.create(&at).await;
    cluster.learner(2, "eu-west").await;
    cluster.stop(2).await;
    cluster.stop(1).await;
    cluster.guests.get_mut(&2).unwrap().own.peer_address = free_address();
    cluster.start(2).await;
    // Longer than its patience with a silent leader: that it is over shows nowhere.
    tokio::time::sleep(Duration::from_secs(4)).await;
    cluster.start(1).await;
    cluster.publish(&at, "1").await;
    cluster.served(2, &at, "1").await;
    cluster.agree().await;
}

/// A leader that is lost between the two entries of a change: the next one finishes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_broke_off_is_finished() {
    let mut cluster = Cluster::started(3).await;
    let at = web();
    cluster.create(&at).await;
    cluster.learner(4, "eu-west").await;
    cluster.publish(&at, "1").await;
    cluster.served(4, &at, "1").await;

    let (leader, staying, leaving) = eventually("a change breaks off", async || {
        let leader = cluster.leader().await;
        let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
        let (staying, leaving) = (others[0], others[1]);
        // Of the old voters only the leader is left, and its lease may be over by the time it is asked.
        let (one, other) = (cluster.up.remove(&staying).unwrap(), cluster.up.remove(&leaving).unwrap());
        tokio::join!(one.stop(), other.stop());
        let replace = Replace { old: leaving, new: 4 };
        let change =
            cluster.up[&leader].change_members(replace, true, false, "test".into(), Duration::from_secs(2));
        let broke_off = change.await == Err(ChangeError::Unknown);
        cluster.stop(leader).await;
        cluster.start(leader).await;
        cluster.start(staying).await;
        if broke_off {
            return Some((leader, staying, leaving));
        }
        cluster.start(leaving).await;
        cluster.members(&[1, 2, 3], &[4]).await;
        None
    })
    .await;
    let mut voters = [leader, staying, 4];
    voters.sort_unstable();
    cluster.members(&voters, &[leaving]).await;
    cluster.publish(&at, "2").await;
    cluster.start(leaving).await;
    cluster.served(leaving, &at, "2").await;
    cluster.change(Remove(vec![leaving]), false).await.unwrap();
    assert!(matches!(cluster.failed(leaving).await, Fatal::Removed { .. }));
    cluster.stop(leaving).await;
    cluster.agree().await;
}
