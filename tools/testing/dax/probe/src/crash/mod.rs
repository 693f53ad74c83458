// SPDX-License-Identifier: GPL-2.0

//! A machine that dies: work on a filesystem whose memory fails, and a look at what is
//! left of it when the machine is up again. `dax-lab crash` kills the machine.

use std::time::Duration;

use anyhow::Result;

mod check;
mod hit;
mod journal;
mod model;
mod work;

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
        Some(run) => work::run(run),
        None => Ok(true),
    }
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
