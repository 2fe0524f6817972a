#![allow(clippy::unwrap_used)]

use super::*;
use crate::storage::store::{MAX_DOCUMENT_BYTES, MAX_ROW_BYTES};
use crate::storage::testing::{Change, Model, document};

const CLUSTER: &str = "prod";

fn meta_of(model: &Model) -> Meta {
    let applied = model.applied();
    Meta {
        position: applied.position,
        membership: applied.membership,
        digest: applied.digest,
        rows: applied.rows,
        model_version: 1,
    }
}

pub(in crate::storage) fn write(snapshots: &Snapshots, model: &Model) -> Durable {
    let rows = model.rows.clone().into_iter().map(Ok);
    let documents = model.documents.clone().into_iter().map(Ok);
    snapshots.write(&meta_of(model), model.position(), rows, documents).unwrap()
}

fn contents(durable: &Durable) -> Vec<Record> {
    let mut reader = durable.read().unwrap();
    std::iter::from_fn(|| reader.next().unwrap()).collect()
}

fn records_of(model: &Model) -> Vec<Record> {
    let rows = model.rows.clone().into_iter().map(|(key, value)| Record::Row { key, value });
    let documents =
        model.documents.clone().into_iter().map(|(digest, stored)| Record::Document { digest, stored });
    rows.chain(documents).collect()
}

/// Two rows, two documents, one of them empty.
fn small() -> Model {
    let mut model = Model::default();
    let puts = &[("alpha", "1"), ("beta", "")];
    model.change(Change { puts, new: &[document(1, 5), document(2, 0)], ..Change::default() });
    model
}

fn open(temp: &tempfile::TempDir) -> Snapshots {
    Snapshots::open(temp.path(), CLUSTER).unwrap()
}

#[test]
fn what_is_written_is_read() {
    let mut large = small();
    let longest = "x".repeat(MAX_ROW_BYTES - 1);
    let (largest, _) = document(3, 0);
    let new = &[(largest, vec![7; MAX_DOCUMENT_BYTES].into())];
    large.change(Change { puts: &[("l", &longest)], new, ..Change::default() });
    for model in [Model::default(), small(), large] {
        let temp = tempfile::tempdir().unwrap();
        let snapshots = open(&temp);
        let durable = write(&snapshots, &model);
        assert_eq!(contents(&durable), records_of(&model));
        assert_eq!(durable.meta(), &meta_of(&model));
        assert_eq!(durable.position(), model.position());
        assert_eq!(durable.size_bytes(), fs::metadata(durable.path()).unwrap().len());
        assert_eq!(snapshots.newest().unwrap(), Some(durable));
    }
}

/// The bytes of version 1. A change here needs a new version: files outlive programs.
#[test]
fn the_format_stays() {
    let temp = tempfile::tempdir().unwrap();
    let durable = write(&open(&temp), &small());
    let golden = include_str!("snapshot/version_1.hex").split_whitespace().collect::<String>();
    assert_eq!(hex::encode(fs::read(durable.path()).unwrap()), golden);
    assert_eq!(durable.name(), format!("1-1-{}.snapshot", &golden[golden.len() - 64..][..16]));
}

#[test]
fn equal_state_gives_an_equal_file() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, second) = (write(&open(&one), &small()), write(&open(&two), &small()));
    assert_eq!(first.name(), second.name());
    assert_eq!(fs::read(first.path()).unwrap(), fs::read(second.path()).unwrap());
}

#[test]
fn no_changed_or_missing_byte_goes_unnoticed() {
    let temp = tempfile::tempdir().unwrap();
    let durable = write(&open(&temp), &small());
    let good = fs::read(durable.path()).unwrap();
    let check = |bytes: &[u8], what: &str, at: usize| {
        fs::write(durable.path(), bytes).unwrap();
        let result = verify(durable.path(), CLUSTER);
        assert!(matches!(result, Err(Error::Damaged { .. })), "{what} {at}: {result:?}");
        let mut reader = Reader::open(durable.path());
        let read = reader.as_mut().map_err(|_| ()).and_then(|reader| reader.drain().map_err(|_| ()));
        assert!(read.is_err(), "{what} {at} was read");
    };
    for at in 0..good.len() {
        for bit in [0x01, 0x80] {
            let mut flipped = good.clone();
            flipped[at] ^= bit;
            check(&flipped, "flipped at", at);
        }
        check(&good[..at], "cut at", at);
        let zeroed = [&good[..at], &vec![0; good.len() - at]].concat();
        if zeroed != good {
            check(&zeroed, "zeroed from", at);
        }
    }
    check(&[&good[..], b"\0"].concat(), "longer by", 1);
}

#[test]
fn a_whole_file_of_another_version_is_not_called_damaged() {
    let temp = tempfile::tempdir().unwrap();
    let snapshots = open(&temp);
    let durable = write(&snapshots, &small());
    let mut newer = fs::read(durable.path()).unwrap();
    newer[11] = 2;
    let end = newer.len() - 32;
    let checksum = crate::storage::store::checksum(&newer[..end]);
    newer[end..].copy_from_slice(&checksum);
    fs::write(durable.path(), newer).unwrap();
    let result = snapshots.newest();
    assert!(matches!(result, Err(Error::UnknownVersion { found: 2, known: 1, .. })), "{result:?}");
}

#[test]
fn a_file_of_another_cluster_or_under_a_wrong_name_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let durable = write(&open(&temp), &small());
    let other = Snapshots::open(temp.path(), "staging").unwrap();
    let told = other.newest().unwrap_err().to_string();
    assert!(told.contains("cluster \"prod\", not \"staging\""), "{told}");

    let moved = temp.path().join(durable.name().replacen("1-1-", "2-1-", 1));
    fs::rename(durable.path(), &moved).unwrap();
    assert!(matches!(verify(&moved, CLUSTER), Err(Error::Damaged { .. })));
}

#[test]
fn a_snapshot_that_cannot_be_right_is_not_written() {
    let temp = tempfile::tempdir().unwrap();
    let snapshots = open(&temp);
    let model = small();
    let meta = meta_of(&model);
    let row = |key: &str, bytes: usize| Ok((key.as_bytes().to_vec(), vec![0; bytes]));
    let doc = |seed: u8, bytes: usize| Ok(([seed; 32], Bytes::from(vec![0; bytes])));
    let damaged = || Err(Error::damaged(Path::new("catalog"), "document 7 lacks a chunk"));
    let cases = [
        (vec![row("b", 1), row("a", 1)], vec![], "row keys do not rise"),
        (vec![row("a", 1), row("a", 1)], vec![], "row keys do not rise"),
        (vec![row("a", 1)], vec![], "1 rows were given, 2 announced"),
        (vec![row("a", MAX_ROW_BYTES)], vec![], "the limit is"),
        (vec![row("a", 1), row("b", 1)], vec![doc(2, 1), doc(1, 1)], "digests do not rise"),
        (vec![row("a", 1), row("b", 1)], vec![doc(1, MAX_DOCUMENT_BYTES + 1)], "the limit is"),
        (vec![row("a", 1), row("b", 1)], vec![doc(1, 1), damaged()], "lacks a chunk"),
    ];
    for (rows, documents, expected) in cases {
        let result = snapshots.write(&meta, model.position(), rows.into_iter(), documents.into_iter());
        let told = result.unwrap_err().to_string();
        assert!(told.contains(expected), "{told:?} does not tell {expected:?}");
        assert_eq!(files::names(temp.path()).unwrap(), [""; 0]);
    }

    let behind = Position { index: model.index - 1, ..model.position() };
    let told = snapshots.write(&meta, behind, [].into_iter(), [].into_iter()).unwrap_err().to_string();
    assert!(told.contains("checkpointed at 0 only"), "{told}");
}

#[test]
fn the_newest_two_and_the_last_damaged_are_kept() {
    let temp = tempfile::tempdir().unwrap();
    let snapshots = open(&temp);
    let mut model = small();
    let mut written = Vec::new();
    // Across a change in the number of digits: the order is that of numbers.
    for _ in 0..11 {
        model.put("alpha", &model.index.to_string());
        written.push(write(&snapshots, &model));
    }
    snapshots.retain_newest().unwrap();
    assert_eq!(files::names(temp.path()).unwrap(), [written[9].name(), written[10].name()].map(String::from));
    assert_eq!(snapshots.newest().unwrap().as_ref(), Some(&written[10]));

    let damage = |durable: &Durable| fs::write(durable.path(), b"MERIDIAN").unwrap();
    damage(&written[10]);
    assert_eq!(snapshots.newest().unwrap().as_ref(), Some(&written[9]));
    damage(&written[9]);
    assert_eq!(snapshots.newest().unwrap(), None);
    assert_eq!(files::names(temp.path()).unwrap(), [format!("{}.damaged", written[9].name())]);
}

#[test]
fn leftovers_of_an_interrupted_write_are_cleared() {
    let temp = tempfile::tempdir().unwrap();
    let durable = write(&open(&temp), &small());
    fs::write(temp.path().join("9-1.tmp"), b"half").unwrap();
    let snapshots = open(&temp);
    assert_eq!(files::names(temp.path()).unwrap(), [durable.name()]);
    assert_eq!(snapshots.newest().unwrap(), Some(durable));
}

/// A snapshot on one node and its bytes on the way to another.
fn transfer() -> (Durable, Vec<u8>, tempfile::TempDir, Snapshots) {
    let from = tempfile::tempdir().unwrap();
    let durable = write(&open(&from), &small());
    let bytes = fs::read(durable.path()).unwrap();
    let to = tempfile::tempdir().unwrap();
    let snapshots = open(&to);
    (durable, bytes, to, snapshots)
}

#[test]
fn a_transfer_goes_on_where_it_broke_off() {
    let (sent, bytes, to, snapshots) = transfer();
    let name = sent.name();
    for (step, part) in bytes.chunks(70).enumerate() {
        let mut incoming = snapshots.incoming(&name, sent.size_bytes()).unwrap();
        assert_eq!(incoming.offset(), step as u64 * 70);
        assert_eq!(incoming.append(part).unwrap(), step as u64 * 70 + part.len() as u64);
        if incoming.offset() < sent.size_bytes() {
            assert!(matches!(incoming.finish(), Err(Error::Refused { .. })), "is not complete");
        }
    }
    // A restart between the last byte and the end, too.
    let arrived = open(&to).incoming(&name, sent.size_bytes()).unwrap().finish().unwrap();
    assert_eq!((arrived.name(), arrived.meta()), (sent.name(), sent.meta()));
    assert_eq!(contents(&arrived), records_of(&small()));
    assert_eq!(files::names(to.path()).unwrap(), [name]);
}

#[test]
fn a_transfer_with_wrong_bytes_starts_over() {
    let (sent, mut bytes, to, snapshots) = transfer();
    bytes[100] ^= 1;
    let mut incoming = snapshots.incoming(&sent.name(), sent.size_bytes()).unwrap();
    incoming.append(&bytes).unwrap();
    assert!(matches!(incoming.finish(), Err(Error::Damaged { .. })));
    assert_eq!(snapshots.incoming(&sent.name(), sent.size_bytes()).unwrap().offset(), 0);

    // Whole, but not what the name says.
    bytes[100] ^= 1;
    let other = sent.name().replacen("1-1-", "3-1-", 1);
    let mut incoming = snapshots.incoming(&other, sent.size_bytes()).unwrap();
    incoming.append(&bytes).unwrap();
    assert!(matches!(incoming.finish(), Err(Error::Damaged { .. })));
    assert_eq!(files::names(to.path()).unwrap(), [""; 0]);
}

#[test]
fn a_transfer_is_bounded() {
    let (sent, bytes, to, snapshots) = transfer();
    for bad in [
        "",
        "1-1-00.snapshot",
        "../1-1-0011223344556677.snapshot",
        "01-1-0011223344556677.snapshot",
        "1-1-00112233445566FF.snapshot",
        "1-1-0011223344556677.snapshot/x",
        "+1-1-0011223344556677.snapshot",
    ] {
        assert!(matches!(snapshots.incoming(bad, 10), Err(Error::Refused { .. })), "{bad:?}");
    }
    assert!(matches!(snapshots.incoming(&sent.name(), u64::MAX), Err(Error::Refused { .. })));

    let mut incoming = snapshots.incoming(&sent.name(), 100).unwrap();
    assert!(matches!(incoming.append(&bytes[..101]), Err(Error::Refused { .. })));
    incoming.append(&bytes[..100]).unwrap();
    assert!(matches!(snapshots.incoming(&sent.name(), 100), Err(Error::Locked { .. })), "one at a time");
    drop(incoming);

    assert_eq!(
        snapshots.incoming(&sent.name(), 50).unwrap().offset(),
        0,
        "longer than announced: not this file"
    );
    let newer = "9-1-0011223344556677.snapshot";
    drop(snapshots.incoming(newer, 100).unwrap());
    assert_eq!(files::names(to.path()).unwrap(), [format!("incoming-{newer}.part")]);
}
