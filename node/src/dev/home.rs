//! The directory of a development cluster, and what is kept there from one start to the next.
//!
//! `cluster.json` (readable by its owner alone) is written once and never changed: its ports and regions are part
//! of the membership that the nodes have agreed on.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use meridian_model::ids::Name;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::ports::{Listen, Ports};
use super::regions::Regions;

const RECORD: &str = "cluster.json";

/// Ports without a wish: those of a node that is given none, and 10 further for each region.
const DEFAULT_BASE_PORT: u16 = 7400;

/// What a cluster is asked to be.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    /// `None`: as kept, else the default ones.
    pub(super) regions: Option<Regions>,
    /// `None`: as kept, else the default one. 0: as kept, else free ones.
    pub(super) base_port: Option<u16>,
}

/// A directory with everything a cluster keeps.
#[derive(Debug)]
pub(super) struct Home {
    directory: PathBuf,
    regions: Regions,
    /// Of the regions, and of one node more.
    ports: Ports,
    operator_token: String,
    sdk_key: String,
    /// Removes the directory when it is dropped.
    _temporary: Option<TempDir>,
}

/// One node's place in the cluster.
#[derive(Clone, Debug)]
pub(super) struct Site {
    pub(super) node_id: u64,
    pub(super) region: Name,
    pub(super) zone: &'static str,
    pub(super) listen: Listen,
}

/// Where the node of each region stands: one machine is one failure domain.
const ZONE: &str = "a";

/// Where a node more would stand, as if it were another machine.
const SPARE_ZONE: &str = "b";

/// The text of `cluster.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    regions: String,
    base_port: u16,
    operator_token: String,
    sdk_key: String,
}

impl Home {
    /// The cluster kept in `directory`, or a new one. Without a directory: a new one in a temporary one.
    pub(super) fn open(directory: Option<PathBuf>, wanted: Wanted) -> anyhow::Result<Self> {
        let (directory, temporary) = match directory {
            Some(directory) => (std::path::absolute(directory)?, None),
            None => {
                let temporary = tempfile::Builder::new().prefix("meridian-dev-").tempdir();
                let temporary = temporary.context("cannot make a temporary directory")?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        let advice = || format!("cannot use {}: choose another --data-dir", directory.display());
        fs::create_dir_all(&directory).with_context(advice)?;
        let path = directory.join(RECORD);
        let record = match fs::read_to_string(&path) {
            Ok(text) => {
                let advice = || format!("{} is damaged: choose another --data-dir", path.display());
                let record: Record = serde_json::from_str(&text).with_context(advice)?;
                record
                    .check(&wanted)
                    .with_context(|| format!("{} holds another cluster", directory.display()))?;
                record
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let record = Record::new(wanted)?;
                record.write(&path).with_context(advice)?;
                record
            }
            Err(error) => return Err(error).with_context(advice),
        };
        let regions: Regions = record.regions.parse()?;
        let ports = Ports::new(record.base_port, regions.names().len() + 1)?;
        let Record { operator_token, sdk_key, .. } = record;
        Ok(Self { directory, regions, ports, operator_token, sdk_key, _temporary: temporary })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What one node writes.
    pub(super) fn data_dir(&self, region: &Name) -> PathBuf {
        self.directory.join("data").join(region.as_str())
    }

    /// What one node is told.
    pub(super) fn config_file(&self, region: &Name) -> PathBuf {
        self.directory.join(format!("{region}.toml"))
    }

    /// What one node says.
    pub(super) fn log_file(&self, region: &Name) -> PathBuf {
        self.directory.join(format!("{region}.log"))
    }

    /// What a node more would be told, for whoever wants to start one.
    pub(super) fn spare_config_file(&self) -> PathBuf {
        self.directory.join("one-more.toml")
    }

    /// What that node would write.
    pub(super) fn spare_data_dir(&self) -> PathBuf {
        self.directory.join("data").join("one-more")
    }

    /// Whether the ports of all regions can be listened on, now.
    pub(super) fn check_ports(&self) -> Result<(), super::ports::Error> {
        Ports::new(self.ports.base(), self.regions.names().len())?.check_free()
    }

    /// All regions, in the order given.
    pub(super) fn sites(&self) -> Vec<Site> {
        let site = |(index, region): (usize, &Name)| self.site(index, region, ZONE);
        self.regions.names().iter().enumerate().map(site).collect()
    }

    /// The first of the sites, whose nodes vote from the start.
    pub(super) fn founders(&self) -> Vec<Site> {
        let mut sites = self.sites();
        sites.truncate(self.regions.voters());
        sites
    }

    /// Where a node more would stand: in the last region.
    pub(super) fn spare_site(&self) -> Site {
        let regions = self.regions.names();
        let last = regions.last().expect("a list between commas has an item");
        self.site(regions.len(), last, SPARE_ZONE)
    }

    fn site(&self, index: usize, region: &Name, zone: &'static str) -> Site {
        Site { node_id: index as u64 + 1, region: region.clone(), zone, listen: self.ports.of_region(index) }
    }

    /// With this a node is let in. Made from the operator's token, which it does not give away, so that a directory
    /// holds no more secrets than it did.
    pub(super) fn join_token(&self) -> String {
        let hash = Sha256::digest(format!("join {}", self.operator_token));
        format!("join-{}", hex::encode(&hash[..16]))
    }

    pub(super) fn operator_token(&self) -> &str {
        &self.operator_token
    }

    pub(super) fn sdk_key(&self) -> &str {
        &self.sdk_key
    }
}

impl Record {
    /// A new cluster with new credentials.
    fn new(wanted: Wanted) -> anyhow::Result<Self> {
        let regions = wanted.regions.unwrap_or_default();
        let count = regions.names().len() + 1;
        let ports = match wanted.base_port.unwrap_or(DEFAULT_BASE_PORT) {
            0 => Ports::free(count)?,
            base => Ports::new(base, count)?,
        };
        Ok(Self {
            regions: regions.to_string(),
            base_port: ports.base(),
            operator_token: random_secret("operator-")?,
            // Statsig's SDKs expect their server secrets to begin like this.
            sdk_key: random_secret("secret-")?,
        })
    }

    /// Whether this is what is wanted.
    fn check(&self, wanted: &Wanted) -> anyhow::Result<()> {
        if let Some(regions) = wanted.regions.as_ref().map(ToString::to_string).filter(|r| *r != self.regions)
        {
            bail!(
                "its regions are {}, not {regions}: leave --regions out, or choose another --data-dir",
                self.regions
            );
        }
        if let Some(base_port) = wanted.base_port.filter(|port| ![0, self.base_port].contains(port)) {
            bail!(
                "its nodes know each other by the ports from {} on, not {base_port}: leave --base-port out, or choose \
                 another --data-dir",
                self.base_port
            );
        }
        Ok(())
    }

    /// Whole or not at all.
    fn write(&self, path: &Path) -> io::Result<()> {
        let unfinished = path.with_extension("json.tmp");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    }
}

/// 128 random bits cannot be guessed.
fn random_secret(prefix: &str) -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).context("the system gives no random numbers")?;
    Ok(format!("{prefix}{}", hex::encode(bytes)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn wanted(regions: &str, base_port: u16) -> Wanted {
        Wanted { regions: Some(regions.parse().unwrap()), base_port: Some(base_port) }
    }

    #[test]
    fn a_kept_cluster_is_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let open = |wanted| Home::open(Some(directory.path().join("kept")), wanted);
        let first = open(wanted("a,b,c", 0)).unwrap();
        for wish in [Wanted::default(), wanted("a,b,c", 0), wanted("a,b,c", first.ports.base())] {
            let again = open(wish).unwrap();
            assert_eq!(again.operator_token(), first.operator_token());
            assert_eq!(again.sdk_key(), first.sdk_key());
            assert_eq!(again.join_token(), first.join_token());
            assert_eq!(again.ports, first.ports);
        }
        let mode = fs::metadata(first.directory().join(RECORD)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_kept_cluster_is_not_turned_into_another() {
        let directory = tempfile::tempdir().unwrap();
        let open = |wanted| Home::open(Some(directory.path().to_owned()), wanted);
        open(wanted("a,b,c", 21_000)).unwrap();
        for (wish, reason) in [(wanted("a,b,d", 0), "--regions"), (wanted("a,b,c", 22_000), "--base-port")] {
            let error = format!("{:#}", open(wish).unwrap_err());
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn an_odd_number_votes_and_there_is_room_for_one_more() {
        let home = Home::open(None, wanted("a,b,c,d", 21_000)).unwrap();
        let ids = |sites: Vec<Site>| sites.iter().map(|site| site.node_id).collect::<Vec<_>>();
        assert_eq!((ids(home.sites()), ids(home.founders())), (vec![1, 2, 3, 4], vec![1, 2, 3]));
        let spare = home.spare_site();
        assert_eq!((spare.node_id, spare.region.as_str(), spare.zone), (5, "d", SPARE_ZONE));
        assert_eq!(spare.listen.grpc.port(), 21_040);
        assert!(!home.join_token().contains(home.operator_token()));
    }

    #[test]
    fn a_temporary_one_is_removed() {
        let home = Home::open(None, wanted("solo", 0)).unwrap();
        let directory = home.directory().to_owned();
        assert!(directory.join(RECORD).exists());
        drop(home);
        assert!(!directory.exists());
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let error = format!("{:#}", Home::open(Some(file.clone()), Wanted::default()).unwrap_err());
        assert!(error.contains(&file.display().to_string()) && error.contains("--data-dir"), "{error}");

        fs::write(directory.path().join(RECORD), "{\"regions\":").unwrap();
        let error = Home::open(Some(directory.path().to_owned()), Wanted::default()).unwrap_err();
        assert!(format!("{error:#}").contains("cluster.json is damaged"), "{error:#}");
    }
}
