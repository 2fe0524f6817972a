//! How every scenario ends: a little peace, then the load is stopped and everything is judged.

use std::time::Duration;

use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::history::Publish;
use crate::judge::{Numbers, judge};
use crate::load::Load;
use crate::lookout::Lookout;
use crate::verdict::Check;

/// Load after the last fault: the cluster must serve it in peace.
const AFTERMATH: Duration = Duration::from_secs(2);

/// What came of a run.
pub(crate) struct Ending {
    pub(crate) checks: Vec<Check>,
    /// What the run did not do.
    pub(crate) shortfalls: Vec<String>,
    /// `None` if the cluster was not there to be asked.
    pub(crate) numbers: Option<Numbers>,
    pub(crate) publishes: Vec<Publish>,
}

/// Ends a run. `broken_off` says why the cluster cannot go on; `faults` and `wanted` how many there were and should be.
pub(crate) async fn end(
    cluster: &mut Cluster,
    load: Load,
    lookout: Lookout,
    broken_off: Option<anyhow::Error>,
    (faults, wanted): (usize, u32),
) -> anyhow::Result<Ending> {
    let mut death = broken_off;
    if death.is_none() {
        sleep(AFTERMATH).await;
        death = cluster.check_alive().err();
    }
    let seen = load.stop().await?;
    let mut checks = vec![Check::new(
        "no node ended by itself, and each came back",
        death.iter().map(|error| format!("{error:#}")),
    )];
    let mut numbers = None;
    let mut shortfalls = Vec::new();
    if death.is_none() {
        match lookout.agree(cluster.nodes.len()).await {
            Err(error) => checks.push(Check::new("all nodes come to the same state", [format!("{error:#}")])),
            Ok(sighted) => {
                let (judged, counted) = judge(cluster, &seen, &sighted).await?;
                checks.extend(judged);
                if counted.digests_compared == 0 || counted.reads == 0 || counted.acknowledged < faults {
                    shortfalls.push("the load did too little to show anything".to_owned());
                }
                numbers = Some(counted);
            }
        }
    }
    if u64::try_from(faults)? < u64::from(wanted) {
        shortfalls.push(format!("{faults} of {wanted} faults were made"));
    }
    Ok(Ending { checks, shortfalls, numbers, publishes: seen.written.publishes })
}
