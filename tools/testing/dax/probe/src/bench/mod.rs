// SPDX-License-Identifier: GPL-2.0

//! `dax-probe bench`: measures what `dax-lab bench` asks for.
//!
//! One command a line on stdin, one answer a line on stdout: `ok ...` or `error
//! ...`. All times are nanoseconds of CLOCK_MONOTONIC.

use std::fs;
use std::io::{self, BufRead};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use nix::time::{clock_gettime, ClockId};
use nix::unistd::pause;

use crate::kernel::QuietConsole;
use crate::map::answer;
use crate::shared::{pin, Worker};
use crate::xfs::{Options, Xfs};

mod healthy;
mod lock;
mod mapper;
mod notify;
mod owners;
mod pages;
mod state;

use healthy::Healthy;
use lock::Trace;
use mapper::Mapper;
use owners::Group;
use pages::Pages;
use state::State;

/// Where the injector runs, and with it the mapper: taking mappings away from a
/// process on another CPU interrupts that one for each of them, which takes an
/// emulator longer than all the rest. With `--apart` it is so.
const INJECTOR_CPU: usize = 0;
const OTHER_CPU: usize = 1;

#[derive(clap::Args)]
pub struct Args {
    /// Let the process that maps run on another CPU than the one that injects
    #[arg(long)]
    apart: bool,
}

pub fn run(args: &Args) -> Result<()> {
    // Both kernels print a line for each signal; on a serial console they would be
    // most of the work.
    let _quiet = QuietConsole::new()?;
    // Forked while this process is small. It maps nothing later, so that the idle
    // processes have no part in the mappings.
    let mapper = Mapper::start(if args.apart { OTHER_CPU } else { INJECTOR_CPU })?;
    pin(INJECTOR_CPU)?;
    let mut bench = Bench {
        mapper,
        idle: Vec::new(),
        groups: Vec::new(),
        mapped: None,
        healthy: None,
        pages: None,
        state: State::default(),
        xfs: Xfs::new(&Options::default())?,
    };
    answer(&format!("ok {}", about()))?;
    let mut line = String::new();
    let mut input = io::stdin().lock();
    while input.read_line(&mut line)? > 0 {
        let words: Vec<_> = line.split_whitespace().collect();
        if words == ["end"] {
            break;
        }
        // An empty line is only there to wake the port.
        if !words.is_empty() {
            match bench.obey(&words) {
                Ok(text) => answer(format!("ok {text}").trim_end())?,
                Err(e) => answer(&format!("error {e:#}"))?,
            }
        }
        line.clear();
    }
    bench.end()
}

/// What times depend on beside the kernel.
fn about() -> String {
    let read = |path: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.trim().to_string()
    };
    let clock = read("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    format!(
        "Linux {}, clock {clock}",
        read("/proc/sys/kernel/osrelease")
    )
}

/// Nanoseconds of CLOCK_MONOTONIC. May be called in a signal handler.
fn now() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from);
    time.map_or(0, |time| time.as_nanos() as u64)
}

struct Bench {
    mapper: Mapper,
    idle: Vec<Worker>,
    groups: Vec<Group>,
    /// What the mapper maps.
    mapped: Option<notify::Mapped>,
    healthy: Option<Healthy>,
    /// Those that fail next.
    pages: Option<Pages>,
    state: State,
    xfs: Xfs,
}

impl Bench {
    fn obey(&mut self, words: &[&str]) -> Result<String> {
        let number = |n: usize| -> Result<usize> {
            let word = words.get(n).context("a number is missing")?;
            word.parse().with_context(|| word.to_string())
        };
        match words.first().copied() {
            Some("owners") => self.groups.push(Group::new(&self.xfs, number(1)?)?),
            Some("idle") => self.set_idle(number(1)?)?,
            Some("map") => self.map(number(1)?, number(2)?)?,
            Some("unmap") => self.unmap()?,
            Some("inject") => return self.inject(number(1)?),
            Some("pages") => {
                self.unmap()?;
                self.pages = Some(Pages::new(&self.xfs, number(1)?)?);
            }
            Some("told") => {
                let pages = self.pages.as_ref().context("no pages")?;
                return Ok(pages.told(&mut self.mapper)?.to_string());
            }
            Some("repaired") => {
                let pages = self.pages.as_ref().context("no pages")?;
                return Ok(pages.repaired()?.to_string());
            }
            Some("lock") => return self.lock(),
            Some("state") => self
                .state
                .enter(words.get(1).context("no state")?, &self.xfs)?,
            Some("healthy") => {
                let kind = words.get(1).context("no kind")?.parse()?;
                let healthy = match &self.healthy {
                    Some(healthy) => healthy,
                    None => self.healthy.insert(Healthy::new(&self.xfs)?),
                };
                return Ok(healthy.run(kind, number(2)?)?.to_string());
            }
            _ => bail!("unknown command: {}", words.join(" ")),
        }
        Ok(String::new())
    }

    /// Brings the number of idle processes to `count`.
    fn set_idle(&mut self, count: usize) -> Result<()> {
        for worker in self.idle.drain(count.min(self.idle.len())..) {
            worker.kill();
        }
        while self.idle.len() < count {
            self.idle.push(Worker::start(|| loop {
                pause();
            })?);
        }
        Ok(())
    }

    /// Has the block of `owners` files mapped through `count` of them.
    fn map(&mut self, owners: usize, count: usize) -> Result<()> {
        self.unmap()?;
        let group = self.groups.iter().find(|group| group.owners == owners);
        let group = group.with_context(|| format!("there are no {owners} owners"))?;
        ensure!((1..=owners).contains(&count), "{count} of {owners} mapped");
        self.mapper.map(&group.dir, owners, count)?;
        self.mapped = Some(notify::Mapped {
            pfn: group.pfn,
            count,
            agf: group.agf,
        });
        Ok(())
    }

    fn unmap(&mut self) -> Result<()> {
        if self.mapped.take().is_some() {
            self.mapper.unmap()?;
        }
        Ok(())
    }

    fn mapped(&self) -> Result<notify::Mapped> {
        self.mapped.context("nothing is mapped")
    }

    /// Times of some injections: "LAST-SIGNAL:WRITE-RETURNS:SIGNALS ...".
    fn inject(&mut self, count: usize) -> Result<String> {
        let mapped = self.mapped()?;
        let mut list = Vec::new();
        for _ in 0..count {
            let sample = notify::sample(&mut self.mapper, &mapped)?;
            list.push(format!(
                "{}:{}:{}",
                sample.last_signal, sample.returned, sample.signals
            ));
        }
        Ok(list.join(" "))
    }

    /// How long a notification holds the AGF: "LONGEST SUM TIMES".
    fn lock(&mut self) -> Result<String> {
        let mapped = self.mapped()?;
        // The log's and the inodes' own business with the AGF is to be over.
        self.xfs.root()?.sync_all()?;
        let trace = Trace::start(mapped.agf)?;
        notify::sample(&mut self.mapper, &mapped)?;
        let holds = trace.holds(std::process::id())?;
        let longest = holds.iter().max().context("the AGF was never locked")?;
        let sum: u64 = holds.iter().sum();
        Ok(format!("{longest} {sum} {}", holds.len()))
    }

    fn end(mut self) -> Result<()> {
        self.set_idle(0)?;
        self.state.end()?;
        drop((self.healthy, self.mapper));
        let end = self.xfs.end();
        answer(&format!("ok {end}"))
    }
}
