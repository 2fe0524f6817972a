//! What must hold of `State::apply` for any sequence of commands (docs/INVARIANTS.md: I1, I2, I3, I11).
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet, HashMap};

use meridian_model::command::{Command, Mutation};
use meridian_model::state::{Applied, State};
use meridian_model::wire;
use meridian_model::{Digest, Document, EnvironmentRef, Format, KeyHash, Name, Outcome, RequestId, Version};
use proptest::prelude::*;

const REGIONS: [&str; 3] = ["us-east", "eu-west", "ap-south"];

fn environment() -> impl Strategy<Value = EnvironmentRef> {
    (0..2u8, 0..2u8).prop_map(|(p, e)| EnvironmentRef::parse(&format!("p{p}"), &format!("e{e}")).unwrap())
}

fn document() -> impl Strategy<Value = Document> {
    (0..4u8).prop_map(|n| Document::seal(Format::Json, format!("{{\"n\":{n}}}").into()))
}

fn nodes() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(1..5u64, 0..3)
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let expected = prop::option::weighted(0.3, 0..6u64);
    let hash = (0..4u8).prop_map(|n| KeyHash([n; 32]));
    let regions = prop::sample::subsequence(&REGIONS[..], 0..=2)
        .prop_map(|names| names.iter().map(|name| name.parse().unwrap()).collect::<Vec<Name>>());
    prop_oneof![
        1 => Just(Mutation::Tick),
        2 => (0..2u8).prop_map(|n| Mutation::CreateProject { project: format!("p{n}").parse().unwrap() }),
        3 => environment().prop_map(|environment| Mutation::CreateEnvironment { environment }),
        1 => (environment(), hash.clone()).prop_map(|(environment, hash)| Mutation::CreateKey {
            environment, hash, prefix: "secret-a".into(), label: String::new(),
        }),
        1 => hash.prop_map(|hash| Mutation::RevokeKey { id: hash.id() }),
        6 => (environment(), document(), expected.clone()).prop_map(|(environment, document, expect_version)| {
            Mutation::Publish { environment, document, expect_version, message: "m".into() }
        }),
        2 => (environment(), 0..6u64, expected).prop_map(|(environment, to_version, expect_version)| {
            Mutation::Rollback { environment, to_version, expect_version, message: "back".into() }
        }),
        2 => (environment(), 1..6u64, regions.clone()).prop_map(|(environment, version, regions)| {
            Mutation::MovePointer { environment, version, regions }
        }),
        1 => (regions, prop::option::of(1..9u64), prop::option::weighted(0.3, 0..4u64)).prop_map(
            |(regions, repair_after_ms, expect_version)| {
                Mutation::SetPlacement { regions, repair_after_ms, expect_version }
            }
        ),
        1 => (nodes(), any::<bool>()).prop_map(|(nodes, undrain)| Mutation::Drain { nodes, undrain }),
        1 => nodes().prop_map(|nodes| Mutation::Retire { nodes }),
        1 => Just(Mutation::Settle),
        1 => Just(Mutation::Note { text: "a".repeat(1_023) + "ä" }),
    ]
}

/// Few ids, so that they repeat; leaders' clocks that jump both ways.
fn command() -> impl Strategy<Value = Command> {
    (0..200u8, 0..5_000u64, mutation()).prop_map(|(id, time_ms, mutation)| Command {
        request_id: (!matches!(mutation, Mutation::Tick)).then_some(RequestId([id; 16])),
        actor: "ada".into(),
        time_ms,
        mutation,
    })
}

fn commands() -> impl Strategy<Value = Vec<Command>> {
    prop::collection::vec(command(), 0..120)
}

fn run(commands: &[Command]) -> (State, Vec<Applied>) {
    let mut state = State::default();
    let applied = commands.iter().map(|command| state.apply(command.clone())).collect();
    (state, applied)
}

proptest! {
    #[test]
    fn same_commands_give_the_same_state(commands in commands()) {
        let (one, applied_one) = run(&commands);
        let (two, applied_two) = run(&commands);
        prop_assert_eq!(one.tally(), two.tally());
        prop_assert_eq!(&one, &two);
        prop_assert_eq!(applied_one, applied_two);
    }

    #[test]
    fn commands_survive_the_log(command in command()) {
        prop_assert_eq!(wire::decode_command(wire::encode_command(&command)).unwrap(), command);
    }

    #[test]
    fn any_bytes_are_a_command_or_an_error(bytes: Vec<u8>) {
        let _ = wire::decode_command(bytes.into());
    }

    /// I1, and the strictly rising time that Statsig SDKs need.
    #[test]
    fn versions_are_dense_and_times_rise(commands in commands()) {
        let mut newest: HashMap<EnvironmentRef, (Version, u64)> = HashMap::new();
        let mut answered = BTreeSet::new();
        let mut state = State::default();
        for command in commands {
            let first = command.request_id.is_none_or(|id| answered.insert(id));
            let (Mutation::Publish { environment, .. } | Mutation::Rollback { environment, .. }) = &command.mutation
            else {
                state.apply(command);
                continue;
            };
            let environment = environment.clone();
            if let Outcome::Published { version, time_ms } = state.apply(command).outcome && first {
                let (last_version, last_time_ms) = newest.entry(environment).or_default();
                prop_assert_eq!(version, *last_version + 1);
                prop_assert!(time_ms > *last_time_ms);
                (*last_version, *last_time_ms) = (version, time_ms);
            }
        }
    }

    #[test]
    fn a_repeat_gets_the_first_outcome_and_changes_nothing(commands in commands(), again: prop::sample::Index) {
        let (mut state, applied) = run(&commands);
        prop_assume!(!commands.is_empty());
        let nth = again.index(commands.len());
        let command = &commands[nth];
        prop_assume!(command.request_id.is_some());
        let first = commands.iter().position(|c| c.request_id == command.request_id).unwrap();
        prop_assume!(commands[first].mutation == command.mutation);
        let before = state.clone();
        let repeated = state.apply(command.clone());
        prop_assert_eq!(&repeated.outcome, &applied[first].outcome);
        prop_assert_eq!(repeated.changes, Default::default());
        prop_assert_eq!(state, before);
    }

    #[test]
    fn rows_are_the_state(commands in commands()) {
        let (state, _) = run(&commands);
        let rows: Vec<_> = state.rows().collect();
        prop_assert!(rows.is_sorted());
        let restored = State::from_rows(rows).unwrap().expect_tally(state.tally()).unwrap();
        prop_assert_eq!(restored, state);
    }

    /// The rows on disk, kept up to date by the changes alone, are the rows of the state; so are the documents.
    #[test]
    fn changes_keep_the_projection_right(commands in commands()) {
        let mut state = State::default();
        let (mut rows, mut documents) = (BTreeMap::new(), BTreeSet::new());
        for command in commands {
            let changes = state.apply(command).changes;
            for (key, row) in changes.rows {
                match row {
                    Some(row) => drop(rows.insert(key, row)),
                    None => prop_assert!(rows.remove(&key).is_some()),
                }
            }
            for document in changes.new_documents {
                prop_assert!(documents.insert(document.digest));
            }
            for digest in changes.dropped_documents {
                prop_assert!(documents.remove(&digest));
            }
        }
        prop_assert_eq!(rows.into_iter().collect::<Vec<_>>(), state.rows().collect::<Vec<_>>());
        prop_assert_eq!(documents, state.documents().collect::<BTreeSet<Digest>>());
    }

    /// I11: what a region serves is what its pointer says, and it is kept.
    #[test]
    fn regions_serve_what_their_pointer_says(commands in commands()) {
        let mut state = State::default();
        for command in commands {
            let moved = match &command.mutation {
                Mutation::MovePointer { environment, version, regions } => {
                    Some((environment.clone(), *version, regions.clone()))
                }
                _ => None,
            };
            let applied = state.apply(command);
            let directory = state.directory();
            for (at, head) in directory.environments() {
                for region in REGIONS {
                    let served = directory.served(at, &region.parse().unwrap());
                    prop_assert_eq!(served.is_some(), head.head > 0);
                }
            }
            if let (Some((at, version, regions)), Outcome::Done, false) =
                (moved, &applied.outcome, applied.changes.rows.is_empty())
            {
                for region in regions {
                    prop_assert_eq!(directory.served(&at, &region).unwrap().version, version);
                }
            }
        }
    }
}

/// Old releases go, with their documents, but never one that a region still serves.
#[test]
fn history_is_bounded_and_served_versions_are_kept() {
    use meridian_model::limits::RELEASES_KEPT;
    let at = EnvironmentRef::parse("p", "e").unwrap();
    let mut state = State::default();
    let mut id = 0u128;
    let mut apply = |mutation| {
        id += 1;
        let request_id = Some(RequestId(id.to_be_bytes()));
        state.apply(Command { request_id, actor: String::new(), time_ms: 0, mutation })
    };
    apply(Mutation::CreateProject { project: at.project.clone() });
    apply(Mutation::CreateEnvironment { environment: at.clone() });
    let publish = |n: usize, apply: &mut dyn FnMut(Mutation) -> Applied| {
        apply(Mutation::Publish {
            environment: at.clone(),
            document: Document::seal(Format::Json, n.to_string().into()),
            expect_version: None,
            message: String::new(),
        })
    };
    for n in 1..=RELEASES_KEPT {
        assert!(publish(n, &mut apply).changes.dropped_documents.is_empty());
    }
    let pinned = "eu-west".parse::<Name>().unwrap();
    apply(Mutation::MovePointer { environment: at.clone(), version: 1, regions: vec![pinned.clone()] });
    let dropped = publish(RELEASES_KEPT + 1, &mut apply).changes.dropped_documents;
    assert_eq!(dropped, [Digest::of(b"1")], "a publish moves all regions, so version 1 is free to go");
    apply(Mutation::MovePointer { environment: at.clone(), version: 2, regions: vec![pinned.clone()] });
    let versions: Vec<_> = state.directory().releases(&at, 0..u64::MAX).map(|r| r.version).collect();
    assert_eq!(versions.len(), RELEASES_KEPT);
    assert_eq!(state.directory().served(&at, &pinned).unwrap().version, 2);
}

#[test]
fn refusals_name_the_thing() {
    let at = EnvironmentRef::parse("web", "prod").unwrap();
    let mut state = State::default();
    let mut id = 0u128;
    let mut check = |mutation, expected: &str| {
        id += 1;
        let request_id = Some(RequestId(id.to_be_bytes()));
        let before = state.directory().clone();
        let outcome = state.apply(Command { request_id, actor: String::new(), time_ms: 1, mutation }).outcome;
        let said = match &outcome {
            Outcome::Refused(refusal) => {
                assert_eq!(*state.directory(), before, "a refusal changes nothing");
                refusal.to_string()
            }
            other => format!("{other:?}"),
        };
        assert!(said.starts_with(expected), "{said:?} should start with {expected:?}");
    };
    let project = || at.project.clone();
    let publish = |expect_version| Mutation::Publish {
        environment: at.clone(),
        document: Document::seal(Format::Json, "{}".into()),
        expect_version,
        message: String::new(),
    };
    let rollback = |to_version| Mutation::Rollback {
        environment: at.clone(),
        to_version,
        expect_version: None,
        message: String::new(),
    };
    let environment = || Mutation::CreateEnvironment { environment: at.clone() };
    let key = || Mutation::CreateKey {
        environment: at.clone(),
        hash: KeyHash([1; 32]),
        prefix: String::new(),
        label: String::new(),
    };
    check(environment(), "project web does not exist");
    check(Mutation::CreateProject { project: project() }, "Done");
    check(Mutation::CreateProject { project: project() }, "project web exists already");
    check(publish(None), "environment web/prod does not exist");
    check(environment(), "Done");
    check(environment(), "environment web/prod exists already");
    check(publish(Some(1)), "web/prod is at version 0, not 1");
    check(rollback(1), "web/prod has no version 1");
    check(publish(Some(0)), "Published { version: 1");
    check(publish(Some(0)), "web/prod is at version 1, not 0");
    check(rollback(0), "web/prod has no earlier version");
    check(rollback(1), "Published { version: 2");
    check(rollback(0), "Published { version: 3");
    check(key(), "Done");
    check(key(), "key 0101010101010101 exists already");
    check(Mutation::RevokeKey { id: KeyHash([1; 32]).id() }, "Done");
    check(Mutation::RevokeKey { id: KeyHash([1; 32]).id() }, "key 0101010101010101 does not exist");
}

#[test]
fn a_settled_request_is_not_done_later_and_a_done_one_stays_done() {
    let mut state = State::default();
    let mut apply = |id: u8, mutation| {
        let request_id = Some(RequestId([id; 16]));
        state.apply(Command { request_id, actor: String::new(), time_ms: 1, mutation }).outcome
    };
    let create = |name: &str| Mutation::CreateProject { project: name.parse().unwrap() };
    let abandoned = Outcome::Refused(meridian_model::Refusal::Abandoned);
    assert_eq!(apply(1, create("early")), Outcome::Done);
    assert_eq!(apply(1, Mutation::Settle), Outcome::Done, "it was done before");
    assert_eq!(apply(2, Mutation::Settle), abandoned);
    assert_eq!(apply(2, create("late")), abandoned, "an attempt that arrives late is refused");
    assert_eq!(apply(2, Mutation::Settle), abandoned);
    assert!(state.directory().project(&"late".parse().unwrap()).is_none());
}

#[test]
fn the_fleet_remembers_who_is_out_and_who_left() {
    let mut state = State::default();
    let mut id = 0u128;
    let mut apply = |mutation| {
        id += 1;
        let request_id = Some(RequestId(id.to_be_bytes()));
        state.apply(Command { request_id, actor: "ada".into(), time_ms: id as u64, mutation });
        let fleet = state.directory().fleet().clone();
        (
            fleet.drained().collect::<Vec<_>>(),
            fleet.events().map(|(_, e)| e.text.clone()).collect::<Vec<_>>(),
            fleet,
        )
    };
    let (drained, events, _) = apply(Mutation::Drain { nodes: vec![1, 2], undrain: false });
    assert_eq!((drained, events.last().unwrap().as_str()), (vec![1, 2], "nodes 1, 2 taken out of service"));
    let (drained, events, fleet) = apply(Mutation::Drain { nodes: vec![2, 3], undrain: false });
    assert_eq!((drained, events.last().unwrap().as_str()), (vec![1, 2, 3], "node 3 taken out of service"));
    assert_eq!(fleet.drained_since_ms(2), Some(1), "a repeat changes nothing");
    let (drained, events, _) = apply(Mutation::Drain { nodes: vec![1, 9], undrain: true });
    assert_eq!((drained, events.len()), (vec![2, 3], 3));
    let (drained, events, fleet) = apply(Mutation::Retire { nodes: vec![3] });
    assert_eq!((drained, events.last().unwrap().as_str()), (vec![2], "node 3 left the cluster for good"));
    assert_eq!((fleet.retired_at_ms(3), fleet.retired_at_ms(2)), (Some(4), None));
    for _ in 0..meridian_model::limits::EVENTS_KEPT {
        apply(Mutation::Note { text: "more".into() });
    }
    let (_, events, _) = apply(Mutation::Drain { nodes: vec![2], undrain: false });
    assert_eq!((events.len(), events[0].as_str()), (meridian_model::limits::EVENTS_KEPT, "more"));
}
