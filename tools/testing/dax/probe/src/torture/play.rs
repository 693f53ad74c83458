// SPDX-License-Identifier: GPL-2.0

//! Plays a list of operations, or as many as there is time for.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::act::Done;
use super::figures::{measure_pace, scaled};
use super::gen::Generator;
use super::op::Op;
use super::say;
use super::world::World;
use crate::kernel;
use crate::supervise::{follow, kill_group};
use crate::xfs;

/// A step takes no longer than this.
const SILENCE: Duration = Duration::from_secs(90);
/// What comes before an operation in the output, and before what is wrong.
const STEP: &str = "> ";
const DIFFERS: &str = "differs: ";
/// And before how long all takes, of what is usual.
const PACE: &str = "pace ";

/// In this process. Each step is told before it is taken.
pub fn alone(list: Option<&[Op]>, seed: u64, seconds: u64) -> Result<bool> {
    let pace = measure_pace();
    let mut world = World::new()?;
    say(&format!("{PACE}{pace} %"));
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut generator = Generator::new(seed);
    let mut step = 0;
    loop {
        let op = match list {
            Some(list) if step < list.len() => list[step],
            None if Instant::now() < end => generator.next(&world.model),
            _ => break,
        };
        step += 1;
        println!("{STEP}{op}");
        let done = world.perform(op).and_then(|done| {
            world.all_quiet()?;
            Ok(done)
        });
        match done {
            Ok(Done::Yes) => world.stats.steps += 1,
            Ok(Done::Skipped) => world.stats.skipped += 1,
            Err(e) => {
                say(&format!("{DIFFERS}step {step}, {op}: {e:#}"));
                tell(&mut world);
                return Ok(false);
            }
        }
    }
    println!("{STEP}# the end");
    match world.end() {
        Ok(stats) => {
            say(&format!("{stats}"));
            Ok(true)
        }
        Err(e) => {
            say(&format!("{DIFFERS}at the end, after {step} steps: {e:#}"));
            Ok(false)
        }
    }
}

fn tell(world: &mut World) {
    world.stats.acts = world.actors.acts;
    say(&format!("{}", world.stats));
}

/// In another process, which may hang.
pub fn watched(list: Option<&[Op]>, seed: u64, seconds: u64) -> Result<bool> {
    let outcome = attempts(list, seed, seconds, &mut |line| println!("{line}"))?;
    Ok(outcome.is_none())
}

/// The same as [`attempt`], some times for a list of which the outcome depends on when things
/// happen: it passes if each time does.
pub fn attempts(
    list: Option<&[Op]>,
    seed: u64,
    seconds: u64,
    sink: &mut dyn FnMut(&str),
) -> Result<Option<String>> {
    const TRIES: usize = 4;
    let racy = list.is_some_and(|list| list.iter().any(|op| op.is_racy()));
    for _ in 0..if racy { TRIES } else { 1 } {
        let differs = attempt(list, seed, seconds, sink)?;
        if differs.is_some() {
            return Ok(differs);
        }
    }
    Ok(None)
}

/// Plays in another process; what was wrong, if anything was. Its lines go to `sink`.
fn attempt(
    list: Option<&[Op]>,
    seed: u64,
    seconds: u64,
    sink: &mut dyn FnMut(&str),
) -> Result<Option<String>> {
    const FILE: &str = "/run/torture-list";
    measure_pace();
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["torture", "--alone", "--seed", &seed.to_string()]);
    command.args(["--seconds", &seconds.to_string()]);
    if let Some(list) = list {
        let lines: Vec<_> = list.iter().map(|op| format!("{op}\n")).collect();
        fs::write(FILE, lines.concat()).context(FILE)?;
        command.args(["--replay", FILE]);
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let (sender, lines) = mpsc::channel();
    follow(child.stdout.take().context("no stdout")?, sender.clone());
    follow(child.stderr.take().context("no stderr")?, sender);
    let mut differs = None;
    let (mut last, mut words) = (String::new(), String::new());
    let status = loop {
        match lines.recv_timeout(scaled(SILENCE)) {
            Ok(line) => {
                sink(&line);
                if let Some(what) = line
                    .strip_prefix("torture: ")
                    .and_then(|l| l.strip_prefix(DIFFERS))
                {
                    differs = Some(what.to_string());
                } else if let Some(op) = line.strip_prefix(STEP) {
                    last = op.into();
                } else {
                    words = line;
                }
            }
            // Mappers that it left may hold the pipe.
            Err(RecvTimeoutError::Timeout) => break child.try_wait()?,
            Err(RecvTimeoutError::Disconnected) => break Some(child.wait()?),
        }
        if let Some(status) = child.try_wait()? {
            if differs.is_some() || status.success() {
                break Some(status);
            }
        }
    };
    let differs = match (differs, status) {
        (Some(what), _) => Some(what),
        (None, None) => Some(hung(&last)),
        (None, Some(status)) if status.success() => None,
        (None, Some(status)) => Some(format!("{last}: {status}: {words}")),
    };
    clean_up(&mut child);
    Ok(differs)
}

fn hung(last: &str) -> String {
    let stuck: Vec<_> = kernel::sleepers().iter().map(ToString::to_string).collect();
    format!("hangs at {last}: {}", stuck.join(" / "))
}

/// Ends its processes, and unmounts what it left.
fn clean_up(child: &mut Child) {
    kill_group(child);
    let _ = child.wait();
    for _ in 0..50 {
        if !xfs::is_mounted() || xfs::umount().is_ok() {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
}
