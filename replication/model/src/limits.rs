//! Every bound of the model, with its reason. A command past one of them is refused, by name.

/// Largest document, as an SDK receives it. Existing SDKs stop at 4 MiB per gRPC message; 4,304 bytes are left for
/// framing and for the fields beside the document.
pub const DOCUMENT_BYTES: usize = 4_190_000;

/// Projects and environments per cluster: the size the design is made for, twice over.
pub const PROJECTS: usize = 20_000;
/// See [`PROJECTS`].
pub const ENVIRONMENTS: usize = 20_000;

/// SDK keys of one environment: enough to give each service its own and to rotate them, few enough to list.
pub const KEYS_PER_ENVIRONMENT: usize = 100;

/// Releases kept per environment. Older ones are forgotten with their documents, unless a region still serves them.
pub const RELEASES_KEPT: usize = 1_000;

/// Requests whose outcome is remembered for repeats. At 10,000 changes a second this is 13 s, more than the
/// deadline a client gives a change (10 s); at human rates it is weeks.
pub const REQUESTS_REMEMBERED: usize = 131_072;

/// A release's message, a key's label, the name of who acted.
pub const TEXT_BYTES: usize = 1_024;

/// Regions in the order of preference for leaders.
pub const PLACEMENT_REGIONS: usize = 64;

/// Ids of nodes that left for good. An id above the lowest of these is known to be used: a fleet that replaces a node
/// every hour takes seven years to fill it.
pub const RETIRED_NODES: usize = 65_536;

/// Changes of the cluster itself that the journal keeps.
pub const EVENTS_KEPT: usize = 1_000;

/// Regions with a pointer of their own, per environment.
pub const REGION_POINTERS: usize = 64;
