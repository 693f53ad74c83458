// SPDX-License-Identifier: GPL-2.0

//! Torture: operations on files, mappings and the filesystem, while memory fails beside them,
//! one after the other, and after each a look whether all is as a model says. The list of
//! operations comes from a seed, or from a file; one that fails can be made shorter.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::kernel;
use crate::worker;

mod act;
mod actor;
mod admin;
mod compare;
mod data;
mod device;
mod ext4;
mod figures;
mod gen;
mod handle;
mod mapped;
mod mapper;
mod memory;
pub mod meta;
mod model;
mod on;
mod op;
mod play;
mod race;
mod shrink;
pub mod slice;
mod spin;
mod strike;
mod touch;
mod transfer;
mod world;

/// So large a file may be.
const MAX_PAGES: u64 = 1024;
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);

#[derive(clap::Args)]
pub struct Args {
    /// Of what is random
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// For how long
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Play this list, of one operation a line
    #[arg(long)]
    replay: Option<PathBuf>,
    /// Look for a shorter list that fails, for so many seconds
    #[arg(long, requires = "replay")]
    shrink: Option<u64>,
    /// Go on where so many operations are taken out at a time, before this one
    #[arg(long, requires = "shrink", num_args = 2, value_names = ["CHUNK", "LAST"])]
    from: Option<Vec<usize>>,
    /// In this process
    #[arg(long, hide = true)]
    alone: bool,
    /// Be a mapper
    #[arg(long, hide = true)]
    mapper: Option<u64>,
    #[arg(long, hide = true)]
    early: bool,
    /// It was one before
    #[arg(long, hide = true)]
    again: bool,
    /// Use files beside the steps
    #[arg(long, hide = true)]
    actor: Option<u64>,
}

/// Whether all was as it must be.
pub fn run(args: &Args) -> Result<bool> {
    if let Some(number) = args.mapper {
        return mapper::run(number, args.early, args.again).map(|()| true);
    }
    if let Some(number) = args.actor {
        return actor::run(number).map(|()| true);
    }
    let list = args.replay.as_deref().map(read).transpose()?;
    if args.alone {
        return play::alone(list.as_deref(), args.seed, args.seconds);
    }
    match (list, args.shrink) {
        (Some(list), Some(seconds)) => {
            let from = match args.from.as_deref() {
                Some(&[chunk, last]) => Some(shrink::From { chunk, last }),
                _ => None,
            };
            shrink::run(list, from, seconds).map(|()| true)
        }
        (list, _) => play::watched(list.as_deref(), args.seed, args.seconds),
    }
}

fn read(path: &Path) -> Result<Vec<op::Op>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    op::parse_list(&text)
}

/// A line for dax-lab.
fn say(line: &str) {
    println!("torture: {line}");
}

/// Waits until something is so; whether it came to that.
fn until(so: impl FnMut() -> Result<bool>) -> Result<bool> {
    kernel::until(figures::scaled(PATIENCE), PAUSE, so)
}

/// One of the worker's numbers. A kernel without one has nothing to do.
fn count(name: &str) -> Result<u64> {
    match worker::exists() {
        true => worker::count(name),
        false => Ok(0),
    }
}

fn settle() -> Result<()> {
    match worker::exists() {
        true => worker::settle(figures::scaled(PATIENCE), PAUSE),
        false => Ok(()),
    }
}
