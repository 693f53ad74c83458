// SPDX-License-Identifier: GPL-2.0

//! Host side of the lab: boots guests on emulated persistent memory, runs
//! commands in them, and runs the test suites.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use regex_lite::Regex;

mod bench;
mod console;
mod foreign;
mod gdb;
mod guest;
mod known;
mod ktap;
mod lab;
mod load;
mod outcome;
mod pace;
mod program;
mod qemu;
mod results;
mod session;
mod side;
mod suites;
mod vm;

use lab::Lab;
use qemu::Platform;
use vm::{Disk, End, Vm};

/// Boot guests with /dev/pmem0 and /dev/pmem1, and test in them.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// What runs the guests' instructions
    #[arg(long, global = true, value_enum, default_value_t)]
    accel: qemu::Accel,
    /// No guest runs for longer, in seconds; but for shell and gdb
    #[arg(long, global = true)]
    limit: Option<u64>,
    #[command(subcommand)]
    command: Action,
}

#[derive(Args)]
struct Guest {
    /// Build directory of the kernel, or its bzImage
    #[arg(long, default_value = vm::PATCHED)]
    kernel: PathBuf,
    /// Name of the guest; its files go to build/results/latest/NAME
    #[arg(long, default_value = "vm")]
    name: String,
    /// Time limit in seconds
    #[arg(long, default_value_t = 600)]
    timeout: u64,
    /// Console lines that are no failure
    #[arg(long)]
    allow: Option<Regex>,
    /// What the pmem devices are
    #[arg(long, value_enum, default_value_t)]
    platform: Platform,
    /// More words for the kernel's command line
    #[arg(long, default_value = "")]
    append: String,
    /// A raw image for /dev/vdb and so on; what is written there is lost
    #[arg(long)]
    disk: Vec<PathBuf>,
}

#[derive(Subcommand)]
enum Action {
    /// Boot a guest and run a command in it; a single word goes to the shell as it is
    Vm {
        #[command(flatten)]
        guest: Guest,
        /// Keep the terminal on the guest
        #[arg(long)]
        interactive: bool,
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Boot a kernel by KVM and end: for guest.sh, which does not wait for ever
    #[command(hide = true)]
    Kvm {
        /// Build directory of the kernel, or its bzImage
        #[arg(long, default_value = vm::PATCHED)]
        kernel: PathBuf,
        /// Another CPU than guests have
        #[arg(long)]
        cpu: Option<String>,
    },
    /// Play the scenes on the patched kernel and print the table
    Run {
        /// Only these scenes, by name or number
        scenes: Vec<String>,
        /// Build directory of the kernel, or its bzImage
        #[arg(long, default_value = vm::PATCHED)]
        kernel: PathBuf,
        /// What the pmem devices are
        #[arg(long, value_enum, default_value_t)]
        platform: Platform,
        /// How long the races run
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// Play scenes on the stock kernel: each is to fail there in the way that is named for it, or
    /// to pass
    Stock {
        /// Guests at a time
        #[arg(long, default_value_t = 1)]
        at_a_time: usize,
        /// Only these scenes, by name
        scenes: Vec<String>,
    },
    /// Run the test suites and print their counts
    Test {
        /// These suites too, which are played only when named: stock (the scenes on the stock
        /// kernel, compared), debug-nfit, scrub, kunit-py, configs
        #[arg(long, value_delimiter = ',', value_parser = known::suite)]
        also: Vec<suites::Name>,
        /// Suites, and guests of the comparison, at a time; without it, as many as there is
        /// memory for, and two at most
        #[arg(long)]
        at_a_time: Option<usize>,
        /// Only these suites, of those that `list` names
        suites: Vec<String>,
    },
    /// Show scenes and suites
    List {
        /// Only these scenes, by name or number
        scenes: Vec<String>,
        /// Find out whether there are such suites
        #[arg(long, num_args = 1..)]
        suites: Vec<String>,
    },
    Bench(bench::Args),
    Crash(suites::crash::Args),
    Torture(suites::torture::Args),
    Mutants(suites::mutants::Args),
    Xfstests(foreign::xfstests::Args),
    /// Run the tests of ndctl, which foreign.sh has built, on the stock and on the patched kernel
    NdctlTest(foreign::commands::Args),
    /// The same with the kernel tree's tests of memory management
    Selftests(foreign::commands::Args),
    /// The same with mce-test's functions for poisoned memory
    MceTest(foreign::commands::Args),
    /// The same with tests of the Linux Test Project
    Ltp(foreign::commands::Args),
    /// The same with PMDK's tests of bad blocks
    PmdkTest(foreign::commands::Args),
    /// An interactive guest; Ctrl-a x ends it
    Shell {
        /// Build directory of the kernel, or its bzImage
        #[arg(long, default_value = vm::PATCHED)]
        kernel: PathBuf,
        /// What the pmem devices are
        #[arg(long, value_enum, default_value_t)]
        platform: Platform,
    },
    /// The same on the kernel with symbols, which gdb can be attached to
    Gdb {
        /// Do not start the guest before gdb says so
        #[arg(long)]
        wait: bool,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    qemu::accelerate(cli.accel);
    if let Some(seconds) = cli.limit {
        vm::limit(seconds);
    }
    match run(cli.command) {
        Ok(status) => ExitCode::from(status),
        Err(e) => {
            eprintln!("dax-lab: {e:#}");
            ExitCode::from(2)
        }
    }
}

fn run(action: Action) -> Result<u8> {
    let lab = Lab::find()?;
    match action {
        Action::Vm {
            guest,
            interactive,
            command,
        } => {
            let disk = |image: &PathBuf| Disk {
                image: lab.top.join(image),
                keep: false,
            };
            let vm = Vm::new(&lab, &guest.name, &guest.kernel, guest.timeout)
                .disks(guest.disk.iter().map(disk).collect())
                .allow(guest.allow)
                .platform(guest.platform)
                .append(guest.append);
            let script = vm::script(&command);
            if interactive {
                vm.interact(&script)
            } else {
                once(&vm, &script)
            }
        }
        Action::Kvm { kernel, cpu } => qemu::try_kvm(&lab, &kernel, cpu.as_deref()).map(|()| 0),
        Action::List { scenes, suites } => {
            known::suites(&suites)?;
            let all = scenes.is_empty() && suites.is_empty();
            if all || !scenes.is_empty() {
                let lines = known::scene_lines(&scenes)?;
                println!("scenes:\n{}", lines.join("\n"));
            }
            if all {
                println!("suites:\n{}", known::suite_lines().join("\n"));
            }
            Ok(0)
        }
        Action::Run {
            scenes,
            kernel,
            platform,
            seconds,
        } => {
            let lines = known::scene_lines(&scenes)?;
            let only = |what: &str| lines.iter().any(|line| line.contains(what));
            let platform = match scenes.is_empty() {
                false if only(" (nfit)") => Platform::Nfit,
                false if only(" (cxl)") => Platform::Cxl,
                _ => platform,
            };
            let scenes = match platform {
                Platform::Cxl if scenes.is_empty() => suites::scenes::on_cxl()?,
                _ => scenes,
            };
            let limit = suites::scenes::time_limit(seconds);
            let vm = Vm::new(&lab, "run", &kernel, limit).platform(platform);
            once(&vm, &suites::scenes::script(&scenes, &[], seconds))
        }
        Action::Stock { at_a_time, scenes } => suites::scenes::on_stock(&lab, &scenes, at_a_time),
        Action::Test {
            also,
            at_a_time,
            suites,
        } => {
            let suites = known::suites(&suites)?;
            let at_a_time = at_a_time.unwrap_or_else(Lab::guests_at_a_time);
            suites::run(&lab, &suites, &also, at_a_time)
        }
        Action::Crash(args) => suites::crash::command(&lab, &args),
        Action::Torture(args) => suites::torture::command(&lab, &args),
        Action::Mutants(args) => suites::mutants::command(&lab, &args),
        Action::Xfstests(args) => foreign::xfstests::run(&lab, &args),
        Action::NdctlTest(args) => foreign::ndctl::run(&lab, &args),
        Action::Selftests(args) => foreign::selftests::run(&lab, &args),
        Action::MceTest(args) => foreign::mce_test::run(&lab, &args),
        Action::Ltp(args) => foreign::ltp::run(&lab, &args),
        Action::PmdkTest(args) => foreign::pmdk::run(&lab, &args),
        Action::Bench(args) => bench::run(&lab, &args),
        Action::Shell { kernel, platform } => {
            let vm = Vm::new(&lab, "shell", &kernel, 0).platform(platform);
            session::shell(&lab, vm)
        }
        Action::Gdb { wait } => session::gdb(&lab, wait),
    }
}

/// Runs a guest whose output goes to stdout; the exit status to end with.
fn once(vm: &Vm, script: &str) -> Result<u8> {
    let outcome = vm.run(script, &mut |line| println!("{line}"))?;
    for line in outcome.complaints() {
        eprintln!("dax-lab: {line}");
    }
    Ok(match outcome.end {
        End::Exit(0) if outcome.findings.is_empty() => 0,
        End::Exit(0) => 3,
        End::Exit(status) => u8::try_from(status).context("exit status")?,
        End::Timeout(_) | End::Died => 4,
    })
}

/// How long something took, in words.
fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs())
}
