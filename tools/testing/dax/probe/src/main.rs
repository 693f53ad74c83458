// SPDX-License-Identifier: GPL-2.0

//! Guest side of the DAX poison tests: processes that map DAX files, and the
//! scenes they play.

use std::process::ExitCode;

use anyhow::{bail, Result};
use clap::{Parser, Subcommand};

mod fault;
mod ioctl;
mod kernel;
mod map;
mod pmem;
mod process;
mod report;
mod scenes;
mod shared;
mod supervise;
mod xfs;

/// Poison persistent memory and watch what becomes of the processes that map it.
/// Destroys what is on /dev/pmem0 and /dev/pmem1.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Play scenes; print a table and KTAP lines
    Scenes {
        /// Only these, by name or number, separated by commas
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
        /// All but these
        #[arg(long, value_delimiter = ',')]
        except: Vec<String>,
        /// Show the scenes and play none
        #[arg(long)]
        list: bool,
        /// How long the races run
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// One scene, without a deadline; rows in a form for the supervisor
    #[command(hide = true)]
    Scene {
        name: String,
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    Map(map::Args),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("dax-probe: {e:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether everything was as expected.
fn run(action: Action) -> Result<bool> {
    match action {
        Action::Scenes { list: true, .. } => {
            for scene in scenes::ALL {
                println!("{:2} {:13} {}", scene.number, scene.name, scene.about);
            }
            Ok(true)
        }
        Action::Scenes {
            only,
            except,
            seconds,
            ..
        } => {
            // SAFETY: geteuid cannot fail.
            if unsafe { libc::geteuid() } != 0 {
                bail!("only root can mount and inject errors");
            }
            supervise::play(&scenes::select(&only, &except)?, seconds)
        }
        Action::Scene { name, seconds } => {
            let outcome = (scenes::find(&name)?.play)(seconds);
            if let Err(e) = &outcome {
                report::error(e)?;
            }
            Ok(outcome.is_ok())
        }
        Action::Map(args) => map::run(&args).map(|()| true),
    }
}
