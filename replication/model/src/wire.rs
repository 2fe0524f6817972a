//! Model ↔ protobuf, in pairs. Log entries and stored rows pass through here; decoding never panics and never
//! believes a length.

use std::collections::BTreeMap;

use bytes::Bytes;
use meridian_proto::raft as pb;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::command::{Command, Mutation};
use crate::credential::SdkKey;
use crate::document::{Document, Encoding, Format};
use crate::fleet::{Event, Placement};
use crate::ids::{Digest, EnvironmentRef, KeyHash, KeyId, Name, NameError, RequestId, Version};
use crate::outcome::{Outcome, Refusal};
use crate::project::{Environment, Project, ServedPointer};
use crate::release::Release;
use crate::state::Remembered;

/// Bytes that are no command, row or outcome of this software version.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// Not even protobuf.
    #[error("not a protobuf message of the expected kind")]
    Protobuf(#[from] prost::DecodeError),
    /// A name breaks the rules.
    #[error("a name is malformed")]
    Name(#[from] NameError),
    /// A field is missing, unknown or of the wrong length.
    #[error("field {0} is missing or malformed")]
    Field(&'static str),
}

/// The body of a log entry.
pub fn encode_command(command: &Command) -> Bytes {
    pb::Command {
        request_id: command.request_id.map_or_else(Bytes::new, |id| Bytes::copy_from_slice(&id.0)),
        actor: command.actor.clone(),
        time_ms: command.time_ms,
        mutation: Some(mutation_to_proto(&command.mutation)),
    }
    .encode_to_vec()
    .into()
}

/// The command of a log entry's body. A document's bytes stay a slice of it.
pub fn decode_command(body: Bytes) -> Result<Command, Malformed> {
    let command = pb::Command::decode(body)?;
    let request_id = match command.request_id.as_ref() {
        [] => None,
        id => Some(RequestId(id.try_into().map_err(|_| Malformed::Field("request_id"))?)),
    };
    let mutation = mutation_from_proto(command.mutation.ok_or(Malformed::Field("mutation"))?)?;
    Ok(Command { request_id, actor: command.actor, time_ms: command.time_ms, mutation })
}

/// Start of the SHA-256 of what is asked. A document counts by its digest.
pub(crate) fn fingerprint(mutation: &Mutation) -> [u8; 8] {
    let mut mutation = mutation_to_proto(mutation);
    if let pb::command::Mutation::Publish(pb::Publish { document: Some(document), .. }) = &mut mutation {
        document.stored = Bytes::new();
    }
    let asked = pb::Command { mutation: Some(mutation), ..Default::default() };
    let digest: [u8; 32] = Sha256::digest(asked.encode_to_vec()).into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    [a, b, c, d, e, f, g, h]
}

fn mutation_to_proto(mutation: &Mutation) -> pb::command::Mutation {
    use pb::command::Mutation as To;
    let (project, environment) = match mutation {
        Mutation::CreateEnvironment { environment }
        | Mutation::CreateKey { environment, .. }
        | Mutation::Publish { environment, .. }
        | Mutation::Rollback { environment, .. }
        | Mutation::MovePointer { environment, .. } => {
            (environment.project.to_string(), environment.environment.to_string())
        }
        Mutation::CreateProject { project } => (project.to_string(), String::new()),
        Mutation::Tick
        | Mutation::RevokeKey { .. }
        | Mutation::SetPlacement { .. }
        | Mutation::Drain { .. }
        | Mutation::Retire { .. }
        | Mutation::Settle
        | Mutation::Note { .. } => Default::default(),
    };
    match mutation {
        Mutation::Tick => To::Tick(pb::Tick {}),
        Mutation::CreateProject { .. } => To::CreateProject(pb::CreateProject { project }),
        Mutation::CreateEnvironment { .. } => {
            To::CreateEnvironment(pb::CreateEnvironment { project, environment })
        }
        Mutation::CreateKey { hash, prefix, label, .. } => To::CreateKey(pb::CreateKey {
            project,
            environment,
            hash: Bytes::copy_from_slice(&hash.0),
            prefix: prefix.clone(),
            label: label.clone(),
        }),
        Mutation::RevokeKey { id } => To::RevokeKey(pb::RevokeKey { id: Bytes::copy_from_slice(&id.0) }),
        Mutation::Publish { document, expect_version, message, .. } => To::Publish(pb::Publish {
            project,
            environment,
            document: Some(document_to_proto(document)),
            expect_version: *expect_version,
            message: message.clone(),
        }),
        Mutation::Rollback { to_version, expect_version, message, .. } => To::Rollback(pb::Rollback {
            project,
            environment,
            to_version: *to_version,
            expect_version: *expect_version,
            message: message.clone(),
        }),
        Mutation::MovePointer { version, regions, .. } => To::MovePointer(pb::MovePointer {
            project,
            environment,
            version: *version,
            regions: regions.iter().map(Name::to_string).collect(),
        }),
        Mutation::SetPlacement { regions, repair_after_ms, expect_version } => {
            To::SetPlacement(pb::SetPlacement {
                regions: regions.iter().map(Name::to_string).collect(),
                repair_after_ms: *repair_after_ms,
                expect_version: *expect_version,
            })
        }
        Mutation::Drain { nodes, undrain } => {
            To::Drain(pb::Drain { nodes: nodes.clone(), undrain: *undrain })
        }
        Mutation::Retire { nodes } => To::Retire(pb::Retire { nodes: nodes.clone() }),
        Mutation::Settle => To::Settle(pb::Settle {}),
        Mutation::Note { text } => To::Note(pb::Note { text: text.clone() }),
    }
}

fn mutation_from_proto(mutation: pb::command::Mutation) -> Result<Mutation, Malformed> {
    use pb::command::Mutation as From;
    Ok(match mutation {
        From::Tick(_) => Mutation::Tick,
        From::CreateProject(m) => Mutation::CreateProject { project: m.project.parse()? },
        From::CreateEnvironment(m) => {
            Mutation::CreateEnvironment { environment: EnvironmentRef::parse(&m.project, &m.environment)? }
        }
        From::CreateKey(m) => Mutation::CreateKey {
            environment: EnvironmentRef::parse(&m.project, &m.environment)?,
            hash: KeyHash(array(&m.hash, "hash")?),
            prefix: m.prefix,
            label: m.label,
        },
        From::RevokeKey(m) => Mutation::RevokeKey { id: KeyId(array(&m.id, "id")?) },
        From::Publish(m) => Mutation::Publish {
            environment: EnvironmentRef::parse(&m.project, &m.environment)?,
            document: document_from_proto(m.document.ok_or(Malformed::Field("document"))?)?,
            expect_version: m.expect_version,
            message: m.message,
        },
        From::Rollback(m) => Mutation::Rollback {
            environment: EnvironmentRef::parse(&m.project, &m.environment)?,
            to_version: m.to_version,
            expect_version: m.expect_version,
            message: m.message,
        },
        From::MovePointer(m) => Mutation::MovePointer {
            environment: EnvironmentRef::parse(&m.project, &m.environment)?,
            version: m.version,
            regions: names(&m.regions)?,
        },
        From::SetPlacement(m) => Mutation::SetPlacement {
            regions: names(&m.regions)?,
            repair_after_ms: m.repair_after_ms,
            expect_version: m.expect_version,
        },
        From::Drain(m) => Mutation::Drain { nodes: m.nodes, undrain: m.undrain },
        From::Retire(m) => Mutation::Retire { nodes: m.nodes },
        From::Settle(_) => Mutation::Settle,
        From::Note(m) => Mutation::Note { text: m.text },
    })
}

/// A document as the store keeps it: its sealed form with what is needed to open it.
pub fn encode_document(document: &Document) -> Bytes {
    document_to_proto(document).encode_to_vec().into()
}

/// Reads [`encode_document`] back. Opening the document proves its bytes.
pub fn decode_document(bytes: Bytes) -> Result<Document, Malformed> {
    document_from_proto(pb::Document::decode(bytes)?)
}

fn document_to_proto(document: &Document) -> pb::Document {
    pb::Document {
        format: format_to_proto(document.format).into(),
        digest: Bytes::copy_from_slice(&document.digest.0),
        size_bytes: document.size_bytes,
        encoding: match document.encoding {
            Encoding::Identity => pb::Encoding::Identity,
            Encoding::Zstd => pb::Encoding::Zstd,
        }
        .into(),
        stored: document.stored.clone(),
    }
}

fn document_from_proto(document: pb::Document) -> Result<Document, Malformed> {
    Ok(Document {
        encoding: match document.encoding() {
            pb::Encoding::Identity => Encoding::Identity,
            pb::Encoding::Zstd => Encoding::Zstd,
            pb::Encoding::Unspecified => return Err(Malformed::Field("encoding")),
        },
        format: format_from_proto(document.format())?,
        digest: Digest(array(&document.digest, "digest")?),
        size_bytes: document.size_bytes,
        stored: document.stored,
    })
}

fn format_to_proto(format: Format) -> pb::Format {
    match format {
        Format::Json => pb::Format::Json,
        Format::Statsig => pb::Format::Statsig,
        Format::Flagd => pb::Format::Flagd,
    }
}

fn format_from_proto(format: pb::Format) -> Result<Format, Malformed> {
    match format {
        pb::Format::Json => Ok(Format::Json),
        pb::Format::Statsig => Ok(Format::Statsig),
        pb::Format::Flagd => Ok(Format::Flagd),
        pb::Format::Unspecified => Err(Malformed::Field("format")),
    }
}

pub(crate) fn clock_row(time_ms: u64) -> Vec<u8> {
    pb::ClockRow { time_ms }.encode_to_vec()
}

pub(crate) fn read_clock_row(row: &[u8]) -> Result<u64, Malformed> {
    Ok(pb::ClockRow::decode(row)?.time_ms)
}

pub(crate) fn project_row(project: &Project) -> Vec<u8> {
    pb::ProjectRow { created_at_ms: project.created_at_ms }.encode_to_vec()
}

pub(crate) fn read_project_row(row: &[u8]) -> Result<Project, Malformed> {
    Ok(Project { created_at_ms: pb::ProjectRow::decode(row)?.created_at_ms })
}

pub(crate) fn environment_row(environment: &Environment) -> Vec<u8> {
    let served = &environment.served;
    let pointer = |(region, version): (&Name, &Version)| pb::RegionPointer {
        region: region.to_string(),
        version: *version,
    };
    pb::EnvironmentRow {
        created_at_ms: environment.created_at_ms,
        head_version: environment.head,
        last_time_ms: environment.last_time_ms,
        served_everywhere: served.everywhere(),
        served_by_region: served.by_region().iter().map(pointer).collect(),
        key_count: environment.key_count,
    }
    .encode_to_vec()
}

pub(crate) fn read_environment_row(row: &[u8]) -> Result<Environment, Malformed> {
    let row = pb::EnvironmentRow::decode(row)?;
    let mut by_region = BTreeMap::new();
    for pointer in row.served_by_region {
        by_region.insert(pointer.region.parse()?, pointer.version);
    }
    Ok(Environment {
        created_at_ms: row.created_at_ms,
        head: row.head_version,
        last_time_ms: row.last_time_ms,
        served: ServedPointer::new(row.served_everywhere, by_region),
        key_count: row.key_count,
    })
}

pub(crate) fn release_row(release: &Release) -> Vec<u8> {
    pb::ReleaseRow {
        digest: Bytes::copy_from_slice(&release.digest.0),
        format: format_to_proto(release.format).into(),
        size_bytes: release.size_bytes,
        author: release.author.clone(),
        message: release.message.clone(),
        time_ms: release.time_ms,
        rollback_of: release.rollback_of.unwrap_or(0),
    }
    .encode_to_vec()
}

pub(crate) fn read_release_row(version: Version, row: &[u8]) -> Result<Release, Malformed> {
    let row = pb::ReleaseRow::decode(row)?;
    Ok(Release {
        version,
        digest: Digest(array(&row.digest, "digest")?),
        format: format_from_proto(row.format())?,
        size_bytes: row.size_bytes,
        author: row.author,
        message: row.message,
        time_ms: row.time_ms,
        rollback_of: Some(row.rollback_of).filter(|version| *version > 0),
    })
}

pub(crate) fn key_row(key: &SdkKey) -> Vec<u8> {
    pb::KeyRow {
        project: key.environment.project.to_string(),
        environment: key.environment.environment.to_string(),
        prefix: key.prefix.clone(),
        label: key.label.clone(),
        created_at_ms: key.created_at_ms,
    }
    .encode_to_vec()
}

pub(crate) fn read_key_row(hash: KeyHash, row: &[u8]) -> Result<SdkKey, Malformed> {
    let row = pb::KeyRow::decode(row)?;
    Ok(SdkKey {
        hash,
        environment: EnvironmentRef::parse(&row.project, &row.environment)?,
        prefix: row.prefix,
        label: row.label,
        created_at_ms: row.created_at_ms,
    })
}

pub(crate) fn placement_row(placement: &Placement) -> Vec<u8> {
    pb::PlacementRow {
        version: placement.version,
        regions: placement.regions.iter().map(Name::to_string).collect(),
        repair_after_ms: placement.repair_after_ms,
    }
    .encode_to_vec()
}

pub(crate) fn read_placement_row(row: &[u8]) -> Result<Placement, Malformed> {
    let row = pb::PlacementRow::decode(row)?;
    Ok(Placement {
        version: row.version,
        regions: names(&row.regions)?,
        repair_after_ms: row.repair_after_ms,
    })
}

pub(crate) fn drained_row(since_ms: u64) -> Vec<u8> {
    pb::DrainedRow { since_ms }.encode_to_vec()
}

pub(crate) fn read_drained_row(row: &[u8]) -> Result<u64, Malformed> {
    Ok(pb::DrainedRow::decode(row)?.since_ms)
}

pub(crate) fn retired_row(at_ms: u64) -> Vec<u8> {
    pb::RetiredRow { at_ms }.encode_to_vec()
}

pub(crate) fn read_retired_row(row: &[u8]) -> Result<u64, Malformed> {
    Ok(pb::RetiredRow::decode(row)?.at_ms)
}

pub(crate) fn event_row(event: &Event) -> Vec<u8> {
    let Event { time_ms, actor, text } = event.clone();
    pb::EventRow { time_ms, actor, text }.encode_to_vec()
}

pub(crate) fn read_event_row(row: &[u8]) -> Result<Event, Malformed> {
    let pb::EventRow { time_ms, actor, text } = pb::EventRow::decode(row)?;
    Ok(Event { time_ms, actor, text })
}

pub(crate) fn request_row(request: &Remembered) -> Vec<u8> {
    pb::RequestRow {
        request_id: Bytes::copy_from_slice(&request.id.0),
        fingerprint: Bytes::copy_from_slice(&request.fingerprint),
        outcome: Some(pb::Outcome { result: Some(outcome_to_proto(&request.outcome)) }),
    }
    .encode_to_vec()
}

pub(crate) fn read_request_row(row: &[u8]) -> Result<Remembered, Malformed> {
    let row = pb::RequestRow::decode(row)?;
    let outcome = row.outcome.and_then(|outcome| outcome.result).ok_or(Malformed::Field("outcome"))?;
    Ok(Remembered {
        id: RequestId(array(&row.request_id, "request_id")?),
        fingerprint: array(&row.fingerprint, "fingerprint")?,
        outcome: outcome_from_proto(outcome)?,
    })
}

fn outcome_to_proto(outcome: &Outcome) -> pb::outcome::Result {
    match outcome {
        Outcome::Done => pb::outcome::Result::Done(pb::Done {}),
        Outcome::Published { version, time_ms } => {
            pb::outcome::Result::Published(pb::Published { version: *version, time_ms: *time_ms })
        }
        Outcome::Refused(refusal) => pb::outcome::Result::Refused(refusal_to_proto(refusal)),
    }
}

fn outcome_from_proto(outcome: pb::outcome::Result) -> Result<Outcome, Malformed> {
    Ok(match outcome {
        pb::outcome::Result::Done(_) => Outcome::Done,
        pb::outcome::Result::Published(p) => Outcome::Published { version: p.version, time_ms: p.time_ms },
        pb::outcome::Result::Refused(refused) => Outcome::Refused(refusal_from_proto(refused)?),
    })
}

/// The reasons' numbers are stored: never reuse one.
fn refusal_to_proto(refusal: &Refusal) -> pb::Refused {
    let refused = |reason, subject: &str, number, expected| pb::Refused {
        reason,
        subject: subject.to_owned(),
        number,
        expected,
    };
    match refusal {
        Refusal::UnknownProject(name) => refused(1, name, 0, 0),
        Refusal::UnknownEnvironment(name) => refused(2, name, 0, 0),
        Refusal::UnknownKey(id) => refused(3, id, 0, 0),
        Refusal::UnknownVersion { environment, version } => refused(4, environment, *version, 0),
        Refusal::Exists(what) => refused(5, what, 0, 0),
        Refusal::VersionConflict { environment, current, expected } => {
            refused(6, environment, *current, *expected)
        }
        Refusal::LimitReached { what, limit } => refused(7, what, *limit, 0),
        Refusal::RequestIdReused => refused(8, "", 0, 0),
        Refusal::NoEarlierVersion(name) => refused(9, name, 0, 0),
        Refusal::PlacementConflict { current, expected } => refused(10, "", *current, *expected),
        Refusal::Abandoned => refused(11, "", 0, 0),
    }
}

fn refusal_from_proto(refused: pb::Refused) -> Result<Refusal, Malformed> {
    let pb::Refused { reason, subject, number, expected } = refused;
    Ok(match reason {
        1 => Refusal::UnknownProject(subject),
        2 => Refusal::UnknownEnvironment(subject),
        3 => Refusal::UnknownKey(subject),
        4 => Refusal::UnknownVersion { environment: subject, version: number },
        5 => Refusal::Exists(subject),
        6 => Refusal::VersionConflict { environment: subject, current: number, expected },
        7 => Refusal::LimitReached { what: subject, limit: number },
        8 => Refusal::RequestIdReused,
        9 => Refusal::NoEarlierVersion(subject),
        10 => Refusal::PlacementConflict { current: number, expected },
        11 => Refusal::Abandoned,
        _ => return Err(Malformed::Field("reason")),
    })
}

fn names(texts: &[String]) -> Result<Vec<Name>, NameError> {
    texts.iter().map(|text| text.parse()).collect()
}

fn array<const N: usize>(bytes: &[u8], field: &'static str) -> Result<[u8; N], Malformed> {
    bytes.try_into().map_err(|_| Malformed::Field(field))
}
