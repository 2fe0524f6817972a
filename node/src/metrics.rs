//! What `/metrics` shows: the node's own numbers, and the counters that the listeners register.
//!
//! The node's numbers are one table, [`NUMBERS`]: name, unit, meaning and where each is read. They are read when
//! somebody asks, so nothing has to be kept up to date.

use std::fmt;

use meridian_replication::catalog::View;
use meridian_replication::{Handle, NodeStatus, StorageMetrics};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::config::Config;
use crate::health::Health;
use crate::render::cache::Renderings;
use crate::service::Phase;

mod process;

use process::Process;

/// The media type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One number of the node.
struct Number {
    name: &'static str,
    unit: Option<Unit>,
    meaning: &'static str,
    read: Read,
}

/// Where a number is read.
enum Read {
    /// Known from the first moment.
    Health(fn(&Health) -> f64),
    /// Known once replication is up.
    Status(fn(&NodeStatus) -> f64),
    /// Known once replication is up.
    View(fn(&View) -> f64),
    /// Known once replication is up.
    Storage(fn(&StorageMetrics) -> f64),
    /// Known from the first moment.
    Renderings(fn(&Renderings) -> f64),
    /// Known where the system tells.
    Process(fn(&Process) -> f64),
}

const NUMBERS: [Number; 24] = [
    Number {
        name: "meridian_ready",
        unit: None,
        meaning: "1 if SDKs may be sent here, else 0",
        read: Read::Health(|health| f64::from(u8::from(health.ready().is_ok()))),
    },
    Number {
        name: "meridian_service_state",
        unit: None,
        meaning: "0 while this node is in service, 1 while it drains, 2 when it is drained, 3 while it stops",
        read: Read::Health(|health| match health.service().phase() {
            Phase::Serving => 0.0,
            Phase::Draining { .. } => 1.0,
            Phase::Drained => 2.0,
            Phase::Stopping { .. } => 3.0,
        }),
    },
    Number {
        name: "meridian_raft_term",
        unit: None,
        meaning: "Raft term; it rises with each election",
        read: Read::Status(|status| status.term as f64),
    },
    Number {
        name: "meridian_raft_leader_id",
        unit: None,
        meaning: "Id of the node that leads, as far as this one knows; 0 for none",
        read: Read::Status(|status| status.leader.unwrap_or(0) as f64),
    },
    Number {
        name: "meridian_raft_is_leader",
        unit: None,
        meaning: "1 if this node leads, else 0",
        read: Read::Status(|status| f64::from(u8::from(status.leader == Some(status.node_id)))),
    },
    Number {
        name: "meridian_raft_last_index",
        unit: None,
        meaning: "Newest entry in this node's log",
        read: Read::Status(|status| status.last_index as f64),
    },
    Number {
        name: "meridian_raft_applied_index",
        unit: None,
        meaning: "Newest log entry that readers of this node see",
        read: Read::Status(|status| status.applied_index as f64),
    },
    Number {
        name: "meridian_fresh_as_of",
        unit: Some(Unit::Seconds),
        meaning: "Unix time up to which this node holds everything that was committed",
        read: Read::Status(|status| status.fresh_as_of_ms as f64 / 1_000.0),
    },
    Number {
        name: "meridian_staleness",
        unit: Some(Unit::Seconds),
        meaning: "For how long this node may have missed something, by its own stopwatch; infinite until it heard from a leader",
        read: Read::Status(|status| {
            status.staleness.map_or(f64::INFINITY, |staleness| staleness.as_secs_f64())
        }),
    },
    Number {
        name: "meridian_projects",
        unit: None,
        meaning: "Projects",
        read: Read::View(|view| view.directory.project_count() as f64),
    },
    Number {
        name: "meridian_environments",
        unit: None,
        meaning: "Environments of all projects",
        read: Read::View(|view| view.directory.environment_count() as f64),
    },
    Number {
        name: "meridian_sdk_keys",
        unit: None,
        meaning: "SDK keys of all environments",
        read: Read::View(|view| view.directory.key_count() as f64),
    },
    Number {
        name: "meridian_log",
        unit: Some(Unit::Bytes),
        meaning: "Files of the Raft log, purged entries included until their whole file goes",
        read: Read::Storage(|storage| storage.log_bytes as f64),
    },
    Number {
        name: "meridian_log_entries",
        unit: None,
        meaning: "Entries in the Raft log",
        read: Read::Storage(|storage| storage.log_entries as f64),
    },
    Number {
        name: "meridian_snapshot_index",
        unit: None,
        meaning: "Last log entry in the newest snapshot file; 0 without one",
        read: Read::Storage(|storage| storage.snapshot_index as f64),
    },
    Number {
        name: "meridian_catalog",
        unit: Some(Unit::Bytes),
        meaning: "Files of the catalog on disk",
        read: Read::Storage(|storage| storage.catalog_bytes as f64),
    },
    Number {
        name: "meridian_documents",
        unit: None,
        meaning: "Documents in the catalog, those of old releases included",
        read: Read::Storage(|storage| storage.documents as f64),
    },
    Number {
        name: "meridian_documents_stored",
        unit: Some(Unit::Bytes),
        meaning: "What the documents take, compressed",
        read: Read::Storage(|storage| storage.document_bytes as f64),
    },
    Number {
        name: "meridian_catalog_blob_files",
        unit: None,
        meaning: "Files that the catalog's engine must never make; above 0 its guards have failed",
        read: Read::Storage(|storage| storage.blob_files as f64),
    },
    Number {
        name: "meridian_catalog_syncs",
        unit: None,
        meaning: "Syncs of the catalog since the process started",
        read: Read::Storage(|storage| storage.catalog_syncs as f64),
    },
    Number {
        name: "meridian_catalog_checkpoint_age",
        unit: Some(Unit::Seconds),
        meaning: "Since the catalog on disk was last made durable",
        read: Read::Storage(|storage| storage.checkpoint_age.as_secs_f64()),
    },
    Number {
        name: "meridian_render_cache",
        unit: Some(Unit::Bytes),
        meaning: "Rendered documents that are kept for the next reader",
        read: Read::Renderings(|renderings| renderings.bytes() as f64),
    },
    Number {
        name: "process_resident_memory",
        unit: Some(Unit::Bytes),
        meaning: "Memory of this process that is in RAM",
        read: Read::Process(|process| process.resident_bytes as f64),
    },
    Number {
        name: "process_open_fds",
        unit: None,
        meaning: "File descriptors this process has open; each connection is one",
        read: Read::Process(|process| process.open_descriptors as f64),
    },
];

/// Everything that is measured on this node.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// The node's own numbers.
    pub fn new(config: &Config, health: Health, renderings: Renderings) -> Self {
        let mut registry = Registry::default();
        let labels = vec![
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("cluster_id", config.cluster_id.to_string()),
            ("node_id", config.node_id.to_string()),
            ("region", config.region.to_string()),
            ("zone", config.zone.to_string()),
        ];
        registry.register("meridian_build", "What runs here, and where", Info::new(labels));
        registry.register_collector(Box::new(Numbers { health, renderings }));
        Self { registry }
    }

    /// Where the listeners register what they count, before the first reading.
    pub fn registry(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// All of it, as OpenMetrics text.
    pub fn text(&self) -> String {
        let mut out = String::new();
        text::encode(&mut out, &self.registry).expect("writing to a string does not fail");
        out
    }
}

/// Reads [`NUMBERS`] when asked.
#[derive(Debug)]
struct Numbers {
    health: Health,
    renderings: Renderings,
}

impl Collector for Numbers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let status = self.health.handle().map(Handle::status);
        let view = self.health.handle().map(|handle| handle.catalog().view());
        let storage = self.health.handle().and_then(Handle::storage);
        let process = Process::read();
        for Number { name, unit, meaning, read } in &NUMBERS {
            let number = match read {
                Read::Health(read) => Some(read(&self.health)),
                Read::Status(read) => status.as_ref().map(read),
                Read::View(read) => view.as_deref().map(read),
                Read::Storage(read) => storage.as_ref().map(read),
                Read::Renderings(read) => Some(read(&self.renderings)),
                Read::Process(read) => process.as_ref().map(read),
            };
            if let Some(number) = number {
                let encoder = encoder.encode_descriptor(name, meaning, unit.as_ref(), MetricType::Gauge)?;
                ConstGauge::new(number).encode(encoder)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::render::cache::DEFAULT_CAPACITY_BYTES;
    use crate::{demand, grpc, http};

    /// How the names of what is counted elsewhere begin.
    const COUNTED: [&str; 3] = ["meridian_grpc_", "meridian_http_", "meridian_demand_"];

    impl Number {
        /// As it is scraped.
        fn full_name(&self) -> String {
            match &self.unit {
                Some(unit) => format!("{}_{}", self.name, unit.as_str()),
                None => self.name.to_owned(),
            }
        }
    }

    /// What a scrape describes, in order.
    fn described(registry: &Registry) -> Vec<String> {
        let mut out = String::new();
        assert!(text::encode(&mut out, registry).is_ok());
        out.lines()
            .filter_map(|line| Some(line.strip_prefix("# TYPE ")?.split_once(' ')?.0.to_owned()))
            .collect()
    }

    #[test]
    fn every_name_is_used_once() {
        let mut registry = Registry::default();
        grpc::Metrics::register(&mut registry);
        http::config::Metrics::register(&mut registry);
        demand::Metrics::register(&mut registry);
        let mut names = described(&registry);
        assert!(names.iter().all(|name| COUNTED.iter().any(|prefix| name.starts_with(prefix))), "{names:?}");
        names.extend(NUMBERS.iter().map(Number::full_name));
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:#?}");
        // A counter with labels shows itself only once it counts, so its name is kept apart by the prefix.
        for number in &NUMBERS {
            assert!(COUNTED.iter().all(|prefix| !number.name.starts_with(prefix)), "{}", number.name);
        }
    }

    #[test]
    fn a_starting_node_shows_what_it_knows() {
        let mut registry = Registry::default();
        let renderings = Renderings::new(DEFAULT_CAPACITY_BYTES);
        registry.register_collector(Box::new(Numbers { health: Health::default(), renderings }));
        let shown = described(&registry);
        for number in &NUMBERS {
            let known = match number.read {
                Read::Health(_) | Read::Renderings(_) => true,
                Read::Process(_) => cfg!(target_os = "linux"),
                Read::Status(_) | Read::View(_) | Read::Storage(_) => false,
            };
            assert_eq!(shown.contains(&number.full_name()), known, "{} in {shown:?}", number.name);
        }
    }
}
