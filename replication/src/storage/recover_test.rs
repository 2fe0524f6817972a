#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::*;
use crate::storage::snapshot;
use crate::storage::snapshot::Snapshots;
use crate::storage::testing::{Change, Model, checked, document};
use crate::storage::{memory, sled};

/// A node's disk, and every state its catalog went through, by index.
struct Node<B> {
    temp: tempfile::TempDir,
    backend: B,
    model: Model,
    history: BTreeMap<u64, Model>,
    log: LogBounds,
}

impl<B: Backend + Clone> Node<B> {
    fn new(backend: B) -> Node<B> {
        let model = Model::default();
        let history = BTreeMap::from([(0, model.clone())]);
        Node { temp: tempfile::tempdir().unwrap(), backend, model, history, log: LogBounds::default() }
    }

    fn catalog(&self) -> Catalog<B> {
        Catalog::new(self.backend.clone(), &self.dir())
    }

    fn dir(&self) -> PathBuf {
        self.temp.path().join("catalog")
    }

    fn generation(&self) -> PathBuf {
        self.dir().join(fs::read_to_string(self.dir().join("CURRENT")).unwrap().trim_end())
    }

    fn snapshots(&self) -> Snapshots {
        Snapshots::open(&self.temp.path().join("snapshots"), "prod").unwrap()
    }

    fn open(&self) -> Result<Opened<B::Store, SmallState>, Error> {
        self.catalog().open(checked, || Ok((self.snapshots().newest()?, self.log)))
    }

    /// The open store with a state it once had, and why it was rebuilt.
    #[track_caller]
    fn ready(&self) -> (B::Store, u64, Option<String>) {
        match self.open().unwrap() {
            Opened::Ready { store, state, rebuilt } => {
                let index = state.applied.as_ref().map_or(0, |applied| applied.position.index);
                assert_eq!(state, self.history[&index].state());
                (store, index, rebuilt)
            }
            Opened::NeedsSnapshot { why } => panic!("needs a snapshot: {why}"),
        }
    }

    fn write(&mut self, store: &B::Store, change: Change<'_>) {
        store.apply(self.model.change(change)).unwrap();
        self.history.insert(self.model.index, self.model.clone());
        self.log.last = Some(self.model.index);
    }

    fn snapshot(&self) -> Durable {
        snapshot::tests::write(&self.snapshots(), &self.model)
    }

    /// Three changes, a snapshot after the second; all checkpointed and closed.
    fn lived(backend: B) -> Node<B> {
        let mut node = Node::new(backend);
        let (store, _, _) = node.ready();
        node.write(&store, Change { puts: &[("a", "1")], new: &[document(1, 90_000)], ..Change::default() });
        node.write(&store, Change { puts: &[("b", "2")], new: &[document(2, 10)], ..Change::default() });
        store.checkpoint().unwrap();
        node.snapshot();
        node.write(&store, Change { puts: &[("a", "3")], dropped: &[document(1, 0).0], ..Change::default() });
        store.checkpoint().unwrap();
        node
    }
}

fn disk() -> memory::Backend {
    memory::Backend::default()
}

#[test]
fn a_fresh_node_begins_empty_and_goes_on() {
    let mut node = Node::new(disk());
    let (store, index, rebuilt) = node.ready();
    assert_eq!((index, rebuilt), (0, None));
    node.write(&store, Change { puts: &[("a", "1")], ..Change::default() });
    drop(store);
    assert_eq!(node.ready().1, 0, "nothing was checkpointed: the log replays");

    let node = Node::lived(disk());
    let (store, index, rebuilt) = node.ready();
    assert_eq!((index, rebuilt), (3, None));
    node.history[&3].assert_documents(&store);
}

#[test]
fn a_damaged_catalog_is_rebuilt_from_the_snapshot() {
    let node = Node::lived(disk());
    node.backend.damage(&node.generation());
    let (store, index, rebuilt) = node.ready();
    assert_eq!((index, rebuilt.as_deref()), (2, Some("the state digest differs")));
    node.history[&2].assert_documents(&store);
    drop(store);
    assert_eq!(files::names(&node.dir()).unwrap(), ["CURRENT", "damaged-1", "generation-2"]);

    let (_, index, rebuilt) = node.ready();
    assert_eq!((index, rebuilt), (2, None), "healed");

    node.backend.damage(&node.generation());
    node.ready();
    assert_eq!(
        files::names(&node.dir()).unwrap(),
        ["CURRENT", "damaged-2", "generation-3"],
        "one copy is kept"
    );
}

#[test]
fn what_recovery_needs_depends_on_where_the_log_begins() {
    // Purged, newest snapshot or none, and what comes of it: an index, or a snapshot from a peer.
    let cases = [
        (None, false, Some(0)),
        (None, true, Some(2)),
        (Some(1), true, Some(2)),
        (Some(2), true, Some(2)),
        (Some(3), true, None),
        (Some(1), false, None),
    ];
    for (purged, snapshot, expected) in cases {
        let mut node = Node::lived(disk());
        node.log.purged = purged;
        if !snapshot {
            fs::remove_dir_all(node.snapshots_dir()).unwrap();
        }
        node.backend.damage(&node.generation());
        match node.open().unwrap() {
            Opened::Ready { state, .. } => {
                let index = state.applied.map_or(0, |applied| applied.position.index);
                assert_eq!(Some(index), expected, "{purged:?} {snapshot}");
            }
            Opened::NeedsSnapshot { why } => {
                assert_eq!((expected, &*why), (None, "the state digest differs"), "{purged:?} {snapshot}");
                // Asked again after a restart, the answer is the same; then the snapshot arrives.
                assert!(matches!(node.open().unwrap(), Opened::NeedsSnapshot { .. }));
                node.snapshot();
                assert_eq!(node.ready().1, 3);
            }
        }
    }
}

impl<B> Node<B> {
    fn snapshots_dir(&self) -> PathBuf {
        self.temp.path().join("snapshots")
    }
}

#[test]
fn a_catalog_out_of_range_is_rebuilt() {
    let lived = || Node::lived(disk());
    let why = |node: &Node<memory::Backend>| {
        let (_, index, rebuilt) = node.ready();
        (index, rebuilt.unwrap_or_default())
    };
    let mut rolled_back = lived();
    rolled_back.model.put("c", "4");
    rolled_back.history.insert(4, rolled_back.model.clone());
    rolled_back.log.last = Some(4);
    rolled_back.snapshot();
    let (index, told) = why(&rolled_back);
    assert!(index == 4 && told.contains("rolled back"), "{index} {told}");

    let mut ahead = lived();
    ahead.log.last = Some(2);
    let (index, told) = why(&ahead);
    assert!(index == 2 && told.contains("ahead of the log"), "{index} {told}");
    assert_eq!(why(&ahead), (2, String::new()));

    // An installed snapshot may lie past a log which is not purged yet.
    let mut installed = lived();
    installed.log.last = Some(1);
    assert_eq!(why(&installed).0, 2);
    assert_eq!(why(&installed), (2, String::new()));
}

#[test]
fn an_interrupted_recovery_is_done_again() {
    type Interrupt = fn(&Node<memory::Backend>);
    let interrupts: [Interrupt; 5] = [
        // Set aside, but still named.
        |node| fs::rename(node.generation(), node.dir().join("damaged-1")).unwrap(),
        // Nothing current yet.
        |node| fs::remove_file(node.dir().join("CURRENT")).unwrap(),
        // Half imported.
        |node| {
            fs::remove_file(node.dir().join("CURRENT")).unwrap();
            fs::create_dir(node.dir().join("generation-7")).unwrap();
        },
        |node| fs::write(node.dir().join("CURRENT"), "generation-8\n").unwrap(),
        |node| fs::write(node.dir().join("CURRENT"), "\u{0}\u{0}").unwrap(),
    ];
    for (number, interrupt) in interrupts.into_iter().enumerate() {
        let node = Node::lived(disk());
        interrupt(&node);
        assert_eq!(node.ready().1, 2, "case {number}");
        let left = files::names(&node.dir()).unwrap();
        let generations = left.iter().filter(|name| name.starts_with(GENERATION)).count();
        assert_eq!(generations, 1, "case {number}: {left:?}");
    }
}

/// A backend on a machine that is out of order.
#[derive(Clone)]
struct Failing;

impl Backend for Failing {
    type Store = memory::Memory;

    fn open(&self, dir: &Path) -> Result<(memory::Memory, SmallState), Error> {
        Err(Error::machine("use the catalog in", dir)(io::Error::from_raw_os_error(28)))
    }
}

#[test]
fn a_failing_machine_stops_recovery_and_loses_nothing() {
    let node = Node::lived(disk());
    let before = files::names(&node.dir()).unwrap();
    let failing = Catalog::new(Failing, &node.dir());
    let result = failing.open(checked, || Ok((node.snapshots().newest()?, node.log)));
    assert!(matches!(result, Err(Error::Machine { .. })));
    assert_eq!(files::names(&node.dir()).unwrap(), before);
    assert_eq!(node.ready().1, 3);
}

#[test]
fn an_installed_snapshot_replaces_a_running_catalog() {
    let node = Node::lived(sled::Backend);
    let (old, _, _) = node.ready();
    let mut leader = node.model.clone();
    leader.change(Change { puts: &[("z", "9")], new: &[document(9, 5_000_000)], ..Change::default() });
    let durable = snapshot::tests::write(&node.snapshots(), &leader);
    let (store, state) = node.catalog().install(&durable, checked).unwrap();
    assert_eq!(state, leader.state());
    leader.assert_documents(&store);
    drop((old, store));
    assert_eq!(files::names(&node.dir()).unwrap(), ["CURRENT", "generation-2"]);
}

#[test]
fn damage_found_while_running_is_rebuilt_at_the_next_start() {
    let node = Node::lived(sled::Backend);
    fs::write(node.generation().join("condemned"), "document 7 lacks a chunk").unwrap();
    let (store, index, rebuilt) = node.ready();
    assert_eq!((index, rebuilt.as_deref()), (2, Some("found while running: document 7 lacks a chunk")));
    node.history[&2].assert_documents(&store);
}

/// What flipped bytes led to.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    whole: u32,
    rolled_back: u32,
    rebuilt: u32,
    document_condemned: u32,
}

/// A catalog over several segments, of which more was written than is live. With it two images of its directory:
/// as a kill would leave it, and after a clean close.
fn worn() -> (Node<sled::Backend>, [PathBuf; 2]) {
    let mut node = Node::new(sled::Backend);
    let (store, _, _) = node.ready();
    let value = "v".repeat(300);
    for round in 0..18_u64 {
        let keys: Vec<String> = (0..20).map(|n| format!("project-{}", (round * 7 + n) % 200)).collect();
        let puts: Vec<(&str, &str)> =
            keys.iter().map(|key| (key.as_str(), &value[round as usize..])).collect();
        let new = &[document(round, 900_000)];
        let dropped: Vec<_> = round.checked_sub(12).map(|old| document(old, 0).0).into_iter().collect();
        node.write(&store, Change { puts: &puts, new, dropped: &dropped, ..Change::default() });
        if round == 14 {
            store.checkpoint().unwrap();
            node.snapshot();
        }
    }
    store.checkpoint().unwrap();
    let images = ["killed", "clean"].map(|image| node.temp.path().join(image));
    copy(&node.generation(), &images[0]);
    drop(store);
    copy(&node.generation(), &images[1]);
    (node, images)
}

/// Flips one byte of a copy of `image`, at `places` even distances in turn, and starts a node on it each time. The
/// node must answer with a state that was, or rebuild one; never with anything else.
fn sweep(worn: &Node<sled::Backend>, image: &Path, places: u64) -> Tally {
    let node = Node {
        temp: tempfile::tempdir().unwrap(),
        backend: sled::Backend,
        model: worn.model.clone(),
        history: worn.history.clone(),
        log: worn.log,
    };
    copy(&worn.snapshots_dir(), &node.snapshots_dir());
    let length = fs::metadata(image.join("db")).unwrap().len();
    assert!(length > 2 * (8 << 20), "one or two segments only: {length} bytes");

    let mut tally = Tally::default();
    for place in 0..places {
        let at = length * (2 * place + 1) / (2 * places);
        files::remove_dir(&node.dir()).unwrap();
        let generation = node.dir().join("generation-1");
        copy(image, &generation);
        fs::write(node.dir().join("CURRENT"), "generation-1\n").unwrap();
        flip(&generation.join("db"), at);

        let (store, index, rebuilt) = node.ready();
        match rebuilt {
            Some(_) => tally.rebuilt += 1,
            None if index < node.model.index => tally.rolled_back += 1,
            None => tally.whole += 1,
        }
        let condemned =
            node.history[&index].documents.iter().any(|(digest, stored)| match store.document(digest) {
                Ok(found) => {
                    assert_eq!(found.as_ref(), Some(stored), "byte {at}: a wrong document");
                    false
                }
                Err(Error::Damaged { .. }) => true,
                Err(error) => panic!("byte {at}: {error}"),
            });
        drop(store);
        if condemned {
            tally.document_condemned += 1;
            let (store, index, rebuilt) = node.ready();
            assert!(rebuilt.is_some(), "byte {at}: opened again as it was");
            node.history[&index].assert_documents(&store);
        }
    }
    tally
}

#[track_caller]
fn check_flips(places: u64) {
    let (node, images) = worn();
    let tallies = std::thread::scope(|threads| {
        let sweeps = images.each_ref().map(|image| threads.spawn(|| sweep(&node, image, places)));
        sweeps.map(|sweep| sweep.join().unwrap())
    });
    let healed: u32 = tallies.iter().map(|tally| tally.rebuilt + tally.document_condemned).sum();
    assert!(healed > 0, "nothing that counts was hit: {tallies:?}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for name in files::names(from).unwrap() {
        let (from, to) = (from.join(&name), to.join(&name));
        if from.is_dir() {
            copy(&from, &to)
        } else {
            let _bytes = fs::copy(&from, &to).unwrap();
        }
    }
}

fn flip(file: &Path, at: u64) {
    use std::os::unix::fs::FileExt;
    let file = fs::File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

#[test]
fn a_flipped_byte_never_yields_a_wrong_one() {
    check_flips(20);
}

#[test]
#[ignore = "minutes"]
fn a_flipped_byte_never_yields_a_wrong_one_at_400_places() {
    check_flips(200);
}
