//! `meridian-chaos power-loss`: takes the power from the disks of all nodes at once, under load, and looks for what
//! was lost.
//!
//! Each node's data lies on an ext4 of its own in a loop device. A cut is `EXT4_IOC_SHUTDOWN` without a journal flush:
//! from then on nothing reaches the image. The processes are killed, the images mounted again, which replays their
//! journals, and the nodes started on what is left.
//!
//! Before anything is claimed the rig proves itself: what was never synced must be lost, what was synced must be there.
//! Not modelled: torn sectors, and drives that lie about their cache.

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, Places, data_dirs};
use crate::ending::{self, Ending};
use crate::history::write_gap;
use crate::judge::{Numbers, millis};
use crate::load::Load;
use crate::lookout::Lookout;
use crate::random::Random;
use crate::runs::Runs;
use crate::spread::Spread;
use crate::verdict::{self, Check, Verdict};

mod control;
mod disk;
mod shutdown;

use disk::Disk;

/// Load between two cuts. ext4 commits its journal every five seconds by itself: a cut must come before that, or it
/// would find everything on the disk.
const LOAD_MS: std::ops::Range<u64> = 400..3_000;

/// The random numbers of this file; writers count from 1.
const STREAM: u64 = 0;

const TOOLS: [&str; 4] = ["mkfs.ext4", "mount", "umount", "unshare"];

/// Takes the power from all nodes' disks at once, and looks for what was lost (needs root and loop devices)
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    run: Runs,

    /// How often the power goes
    #[arg(long, default_value_t = 10, value_name = "N")]
    cuts: u32,

    /// Writers that publish at the same time
    #[arg(long, value_name = "N", default_value_t = 8)]
    writers: usize,

    /// Set by this program when it has made a mount namespace for itself
    #[arg(long, hide = true)]
    in_own_namespace: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    scenario: &'static str,
    verdict: Verdict,
    seed: u64,
    duration_s: u64,
    cuts: usize,
    control: control::Control,
    /// From a cut to the end of the first publish that was sent after it and acknowledged.
    after_cut: Spread,
    numbers: Option<Numbers>,
    checks: Vec<Check>,
    shortfalls: Vec<String>,
}

/// Runs to the end; the answer is the exit code. An error means that there is no verdict.
///
/// Where this machine cannot do it, a line that begins with `SKIPPED` says why, and the answer is 0: it is no pass.
pub async fn run(args: Args) -> anyhow::Result<u8> {
    if let Some(why) = obstacle() {
        return args.run.skipped("power-loss", &why);
    }
    if !args.in_own_namespace {
        return enter_own_namespace();
    }
    let Args { run, cuts: wanted, writers, .. } = args;
    let seed = run.seed();
    let files = run.files()?;
    let images = files.path().join("images");
    std::fs::create_dir_all(&images).with_context(|| format!("cannot make {}", images.display()))?;
    let mount_points = data_dirs(&files.data())?;
    run.note(&format!("power-loss: seed {seed}, {wanted} cuts, files in {}", files.path().display()));

    let rehearsal = Disk::create(&images.join("control.img"), &mount_points[0]);
    let control = match rehearsal {
        Ok(disk) => control::run(disk).await.context("the rig is not valid")?,
        Err(why) => return run.skipped("power-loss", &format!("{why:#}")),
    };
    run.note(&format!("control: {control}"));

    let began = Instant::now();
    let mut disks = Vec::with_capacity(mount_points.len());
    for (index, mount_point) in mount_points.iter().enumerate() {
        disks.push(Disk::create(&images.join(format!("{index}.img")), mount_point)?);
    }
    let places = Places { binary: run.binary()?, data_dirs: mount_points, files: files.path().to_owned() };
    let mut cluster = Cluster::start(&places).await?;
    cluster.until_healthy().await?;
    let lookout = Lookout::start(&cluster)?;
    let load = Load::start(&cluster, writers, seed).await?;
    let mut cuts = Vec::new();
    let broken_off = cut(&mut cluster, &mut disks, &load, wanted, seed, &run, &mut cuts).await.err();
    let ending = ending::end(&mut cluster, load, lookout, broken_off, (cuts.len(), wanted)).await?;
    cluster.kill_all().await?;
    for disk in &mut disks {
        disk.unmount().await?;
    }

    let Ending { checks, shortfalls, numbers, publishes } = ending;
    let report = Report {
        scenario: "power-loss",
        verdict: Verdict::of(&checks, &shortfalls),
        seed,
        duration_s: began.elapsed().as_secs(),
        cuts: cuts.len(),
        control,
        after_cut: cuts.iter().filter_map(|at| write_gap(&publishes, *at)).collect(),
        numbers,
        checks,
        shortfalls,
    };
    run.report(&report, &report.text())?;
    if report.verdict == Verdict::Pass {
        std::fs::remove_dir_all(&images).with_context(|| format!("cannot remove {}", images.display()))?;
    }
    files.end(report.verdict)?;
    Ok(report.verdict.exit_code())
}

/// Cuts the power so many times. Fails if a node does not come back, or if a cut cannot be proved.
async fn cut(
    cluster: &mut Cluster,
    disks: &mut [Disk],
    load: &Load,
    wanted: u32,
    seed: u64,
    run: &Runs,
    cuts: &mut Vec<Duration>,
) -> anyhow::Result<()> {
    let mut random = Random::new(seed, STREAM);
    for number in 1..=wanted {
        sleep(random.millis(LOAD_MS)).await;
        cluster.check_alive()?;
        for node in &cluster.nodes {
            node.give_up();
        }
        let at = load.started().elapsed();
        Disk::cut_all(disks)?;
        cluster.kill_all().await?;
        for disk in &mut *disks {
            disk.unmount().await?;
            disk.mount().await?;
        }
        let started = Instant::now();
        cluster.start_all()?;
        cluster.until_healthy().await.with_context(|| format!("after cut {number}"))?;
        run.note(&format!(
            "cut {number} at {} ms, all healthy {} ms after their start",
            millis(at),
            millis(started.elapsed())
        ));
        cuts.push(at);
    }
    Ok(())
}

/// Why this machine cannot do it; `None` if it may.
fn obstacle() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("mounting needs root".to_owned());
    }
    if !std::path::Path::new("/dev/loop-control").exists() {
        return Some("there are no loop devices (/dev/loop-control)".to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |tool: &str| std::env::split_paths(&path).any(|dir| dir.join(tool).is_file());
    let missing = TOOLS.into_iter().find(|tool| !is_there(tool))?;
    Some(format!("{missing} is not installed"))
}

/// Starts this program over, with mounts that nobody else sees and that end with it. Returns only on failure.
fn enter_own_namespace() -> anyhow::Result<u8> {
    let error = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--"])
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .arg("--in-own-namespace")
        .exec();
    Err(error).context("cannot make a mount namespace")
}

impl Report {
    fn text(&self) -> String {
        format!(
            "power-loss: {} cuts of all disks in {} s, seed {}\n  control: {}\n  next acknowledged publish after a cut: \
             {}\n{}{}",
            self.cuts,
            self.duration_s,
            self.seed,
            self.control,
            self.after_cut,
            self.numbers.as_ref().map(Numbers::text).unwrap_or_default(),
            verdict::text(self.verdict, &self.checks, &self.shortfalls)
        )
    }
}
