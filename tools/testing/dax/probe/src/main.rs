// SPDX-License-Identifier: GPL-2.0

//! Guest side of the DAX poison tests: processes that map DAX files, and the
//! scenes they play.

use std::process::ExitCode;

use anyhow::{bail, Result};
use clap::{Parser, Subcommand};
use dax_abi as abi;

mod area;
mod bench;
mod calls;
mod crash;
mod cxl;
mod dm;
mod fanotify;
mod fault;
mod firmware;
mod ghes;
mod inject;
mod ioctl;
mod kernel;
mod kmsg;
mod lvm;
mod map;
mod mce;
mod pace;
mod peer;
mod pmem;
mod port;
mod process;
mod qmp;
mod report;
mod scenes;
mod shared;
mod sick;
mod spell;
mod supervise;
mod sys;
mod talk;
mod torture;
mod trace;
mod trouble;
mod units;
mod window;
mod worker;
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
        /// All that is declared of the scenes, for dax-lab
        #[arg(long, hide = true)]
        json: bool,
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
    /// Measure what `dax-lab bench` asks for
    #[command(hide = true)]
    Bench(bench::Args),
    /// Work until the machine dies, and look afterwards; for `dax-lab crash`
    #[command(hide = true)]
    Crash(crash::Args),
    /// Take random steps while memory fails, beside a model; what differs from it ends this
    Torture(torture::Args),
    /// Report an uncorrectable error at a physical address, as hardware does
    Mce {
        /// In bytes; 0x... is hexadecimal
        #[arg(value_parser = pmem::parse_address)]
        addr: u64,
        /// This CPU consumes the error: a panic if it is in the kernel then
        #[arg(long)]
        cpu: Option<u32>,
    },
    /// The same for a byte of a pmem device, if the firmware knows of an error in its
    /// page
    Consume {
        /// In bytes; 0x... is hexadecimal
        #[arg(value_parser = pmem::parse_address)]
        offset: u64,
        /// Number of the pmem device
        #[arg(long, default_value_t = 0)]
        device: u32,
        /// This CPU consumes the error: a panic if it is in the kernel then
        #[arg(long)]
        cpu: Option<u32>,
    },
    #[command(subcommand)]
    Firmware(firmware::Command),
    #[command(subcommand)]
    Cxl(cxl::Command),
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
        Action::Scenes { list, json, .. } if list || json => (),
        Action::Map(_) | Action::Firmware(_) | Action::Cxl(cxl::Command::List) => (),
        // All others write to the pmem devices.
        _ => pmem::in_guest()?,
    }
    match action {
        Action::Scenes { list: true, .. } => {
            scenes::ALL.iter().for_each(|scene| println!("{scene}"));
            Ok(true)
        }
        Action::Scenes { json: true, .. } => {
            let all = scenes::ALL.iter().map(scenes::Scene::json).collect();
            println!("{}", serde_json::Value::Array(all));
            Ok(true)
        }
        Action::Scenes {
            only,
            except,
            seconds,
            ..
        } => {
            if !nix::unistd::geteuid().is_root() {
                bail!("only root can mount and inject errors");
            }
            supervise::play(&scenes::select(&only, &except)?, seconds)
        }
        Action::Scene { name, seconds } => {
            let outcome = scenes::find(&name)?.run(seconds);
            if let Err(e) = &outcome {
                report::error(e)?;
            }
            Ok(outcome.is_ok())
        }
        Action::Map(args) => map::run(args).map(|()| true),
        Action::Bench(args) => bench::run(&args).map(|()| true),
        Action::Crash(args) => crash::run(&args),
        Action::Torture(args) => torture::run(&args),
        Action::Firmware(command) => firmware::run(&command).map(|()| true),
        Action::Cxl(command) => cxl::run(&command).map(|()| true),
        Action::Mce { addr, cpu } => {
            println!("{}", mce::deliver_to(cpu, addr)?);
            Ok(true)
        }
        Action::Consume {
            offset,
            device,
            cpu,
        } => {
            println!("{}", firmware::consume(pmem::Pmem(device), offset, cpu)?);
            Ok(true)
        }
    }
}
