// SPDX-License-Identifier: GPL-2.0

//! A machine that dies: work on a filesystem whose memory fails, and a look at what is
//! left of it when the machine is up again. `dax-lab crash` kills the machine.

use std::fs::File;
use std::thread::{self, sleep};
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use fastrand::Rng;
use nix::sys::statvfs::fstatvfs;

use crate::calls;
use crate::fault;
use crate::firmware;
use crate::ioctl::{
    FMR_OWN_FREE, XFS_FMR_OWN_AG, XFS_FMR_OWN_FS, XFS_FMR_OWN_INOBT, XFS_FMR_OWN_INODES,
    XFS_FMR_OWN_LOG, XFS_FMR_OWN_REFC,
};
use crate::kernel::QuietConsole;
use crate::units::PAGE;
use crate::xfs::{Options, Xfs};

mod check;
mod hit;
mod journal;
mod model;
mod work;

use hit::{hit_owned_by, hit_superblock};
use journal::WORKERS;
use work::Worker;

/// So little is left free that what is freed is used again soon.
const FREE: u64 = 48 << 20;
/// The owners of metadata.
const METADATA: [u64; 5] = [
    XFS_FMR_OWN_FS,
    XFS_FMR_OWN_AG,
    XFS_FMR_OWN_INOBT,
    XFS_FMR_OWN_INODES,
    XFS_FMR_OWN_REFC,
];
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

fn patience() -> Duration {
    crate::kernel::limit(60)
}

#[derive(clap::Args)]
pub struct Args {
    /// Number of the run whose crash is looked at first
    #[arg(long)]
    check: Option<u64>,
    /// Spoil what was found good, and see that it is noticed
    #[arg(long, requires = "check")]
    harm: bool,
    /// Number of the run that is to be killed
    #[arg(long)]
    run: Option<u64>,
}

/// Whether all was as it must be. A run has no end of its own.
pub fn run(args: &Args) -> Result<bool> {
    if let Some(run) = args.check {
        if !check::run(run, args.harm)? {
            return Ok(false);
        }
    }
    match args.run {
        Some(run) => work(run),
        None => Ok(true),
    }
}

/// Does not return while the machine lives, unless something is wrong.
fn work(run: u64) -> Result<bool> {
    let xfs = Xfs::new(&Options::default())?;
    fill(&xfs)?;
    fault::install()?;
    let mut workers = Vec::new();
    for number in 0..WORKERS {
        let mut worker = Worker::new(&xfs, run, number)?;
        worker.prepare()?;
        workers.push(worker);
    }
    let root = xfs.root()?;
    let _quiet = QuietConsole::new()?;
    say("running");
    let mut rng = Rng::with_seed(run);
    let threads: Vec<_> = workers
        .into_iter()
        .map(|mut worker| {
            thread::spawn(move || {
                let end = worker.work();
                say(&format!("worker {}: {end:#}", worker.number));
            })
        })
        .collect();
    loop {
        sleep(Duration::from_millis(rng.u64(5..100)));
        // As long as there is something to do.
        if threads.iter().all(thread::JoinHandle::is_finished) {
            sleep(Duration::from_secs(1));
        } else if let Err(e) = hit_beside(&root, &mut rng) {
            say(&format!("errors beside files: {e:#}"));
        }
    }
}

/// An error beside the files. Where firmware still knows of it after a crash, a mount may need
/// metadata that was not healed in time, but for secondary superblocks.
fn hit_beside(root: &File, rng: &mut Rng) -> Result<()> {
    let owner = match rng.u8(..3) {
        0 if firmware::exists() => return hit_superblock(root, rng),
        0 => XFS_FMR_OWN_LOG,
        1 if !firmware::exists() => METADATA[rng.usize(..METADATA.len())],
        _ => FMR_OWN_FREE,
    };

    hit_owned_by(root, owner, rng)
}

/// Takes most of the space away.
fn fill(xfs: &Xfs) -> Result<()> {
    let file = File::create(xfs.path("ballast"))?;
    let free = free_bytes(&file)?;
    ensure!(free > FREE, "the filesystem has {free} bytes");
    let done = calls::fallocate(&file, 0, 0, (free - FREE) / PAGE * PAGE);
    ensure!(done == "0", "fallocate: {done}");
    Ok(())
}

fn free_bytes(file: &File) -> Result<u64> {
    let stat = fstatvfs(file).context("fstatvfs")?;
    Ok(stat.blocks_available() * stat.fragment_size())
}

/// A line for dax-lab.
fn say(line: &str) {
    println!("crash: {line}");
}

/// Spreads the bits (splitmix64).
fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// The directory of a worker's files.
fn directory(worker: u64) -> String {
    format!("w{worker}")
}
