//! The children of a development cluster, one `meridian serve` per region.
//!
//! A child holds the reading end of a pipe whose other end is here, and stops when the pipe closes: it cannot outlive
//! this process, not even one that is killed.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use futures::future::join_all;
use meridian_model::ids::Name;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::home::{Home, Site};
use super::node_config;

/// A node hands its leadership over and closes its files within about five seconds; then it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How much of a log is shown when its node does not start.
const LOG_TAIL_BYTES: u64 = 2_000;

/// All children.
#[derive(Debug)]
pub(super) struct Nodes(Vec<Node>);

/// What is known of a process without asking it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) region: Name,
    pub(super) life: Life,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Alive {
        pid: u32,
    },
    Dead {
        /// How it ended.
        how: String,
    },
}

#[derive(Debug)]
struct Node {
    region: Name,
    config: PathBuf,
    log: PathBuf,
    state: State,
}

#[derive(Debug)]
enum State {
    Running { child: Child, pid: u32 },
    Ended(ExitStatus),
}

impl Nodes {
    /// Writes the configuration of each and starts it; writes that of a node more. If one cannot be started, those before
    /// it are killed.
    pub(super) fn start(home: &Home) -> anyhow::Result<Self> {
        let sites = home.sites();
        let mut nodes = Vec::with_capacity(sites.len());
        for site in &sites {
            let config = home.config_file(&site.region);
            let data_dir = home.data_dir(&site.region);
            fs::create_dir_all(&data_dir).with_context(|| format!("cannot make {}", data_dir.display()))?;
            write_config(home, site, &data_dir, &config)?;
            nodes.push(Node::start(site.region.clone(), config, home.log_file(&site.region))?);
        }
        write_config(home, &home.spare_site(), &home.spare_data_dir(), &home.spare_config_file())?;
        Ok(Self(nodes))
    }

    /// Waits until a child has ended, and tells why.
    pub(super) async fn first_death(&mut self) -> anyhow::Error {
        loop {
            self.reap();
            for node in &self.0 {
                if let State::Ended(status) = node.state {
                    let end = log_tail(&node.log).unwrap_or_else(|error| format!("cannot read it: {error}"));
                    return anyhow::anyhow!(
                        "{} stopped while starting ({status}); its log ends with:\n{end}",
                        node.region
                    );
                }
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Notices children that have ended.
    pub(super) fn reap(&mut self) {
        for node in &mut self.0 {
            if let State::Running { child, .. } = &mut node.state
                && let Ok(Some(status)) = child.try_wait()
            {
                node.state = State::Ended(status);
            }
        }
    }

    /// Starts those that have ended.
    pub(super) fn revive(&mut self) -> anyhow::Result<()> {
        for node in self.0.iter_mut().filter(|node| matches!(node.state, State::Ended(_))) {
            node.state = spawn(&node.config, &node.log)
                .with_context(|| format!("cannot start {} again", node.region))?;
        }
        Ok(())
    }

    pub(super) fn processes(&self) -> Vec<Process> {
        let life = |state: &State| match state {
            State::Running { pid, .. } => Life::Alive { pid: *pid },
            State::Ended(status) => Life::Dead { how: status.to_string() },
        };
        self.0.iter().map(|node| Process { region: node.region.clone(), life: life(&node.state) }).collect()
    }

    /// Those of the living, by region.
    pub(super) fn pids(&self) -> BTreeMap<Name, u32> {
        let pid = |process: Process| match process.life {
            Life::Alive { pid } => Some((process.region, pid)),
            Life::Dead { .. } => None,
        };
        self.processes().into_iter().filter_map(pid).collect()
    }

    /// Asks all to stop, and kills those that do not in time. None is left when this returns.
    pub(super) async fn stop(self) {
        join_all(self.0.into_iter().map(Node::stop)).await;
    }
}

impl Node {
    fn start(region: Name, config: PathBuf, log: PathBuf) -> anyhow::Result<Self> {
        let state = spawn(&config, &log).with_context(|| format!("cannot start {region}"))?;
        Ok(Self { region, config, log, state })
    }

    async fn stop(self) {
        let State::Running { mut child, pid } = self.state else { return };
        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            // Not yet waited for, so the id is still this child's. It fails only if there is nothing to stop.
            let _ = kill_process(pid, Signal::TERM);
        }
        if timeout(STOP_TIMEOUT, child.wait()).await.is_err() {
            let _ = child.kill().await;
        }
    }
}

/// A file that holds a token is for its owner alone, so each is.
fn write_config(home: &Home, site: &Site, data_dir: &Path, config: &Path) -> anyhow::Result<()> {
    let text = node_config::text(home, site, data_dir)?;
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(config)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("cannot write {}", config.display()))
}

fn spawn(config: &Path, log: &Path) -> io::Result<State> {
    let log = OpenOptions::new().create(true).append(true).open(log)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("serve").arg("--config").arg(config).arg("--until-stdin-closes");
    // What the operator has set is for the operator's own commands; here it would override the files.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"MERIDIAN_"))
    {
        command.env_remove(name);
    }
    let child = command
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Ctrl-C is for this process, which then stops the children in its own way.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let pid = child.id().ok_or_else(|| io::Error::other("the process ended at once"))?;
    Ok(State::Running { child, pid })
}

/// The last lines of a log.
fn log_tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // The first line is whole only if the file begins with it.
    let whole =
        if length > LOG_TAIL_BYTES { text.split_once('\n').map_or("", |(_, rest)| rest) } else { &text };
    Ok(whole.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_end_of_a_log_begins_with_a_whole_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let check = |log: &str, tail: &str| {
            fs::write(file.path(), log).unwrap();
            assert_eq!(log_tail(file.path()).unwrap(), tail);
        };
        check("", "");
        check("one\ntwo\n", "one\ntwo");
        let long = "x".repeat(3_000);
        check(&format!("{long}\nlast words\n"), "last words");
    }
}
