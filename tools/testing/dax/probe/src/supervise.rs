// SPDX-License-Identifier: GPL-2.0

//! Plays scenes, each in a process of its own with a deadline, and prints what
//! became of them. A scene that hangs in the kernel cannot take this one along.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{killpg, Signal};
use nix::unistd::Pid;

use crate::kernel::{self, Health, Stuck};
use crate::kmsg;
use crate::report::{self, Row};
use crate::scenes::Scene;
use crate::xfs;

/// Outcome of a scene.
struct Outcome {
    failure: Option<String>,
    /// Processes are stuck for good: nothing can be played after this.
    hung: bool,
}

/// Plays the scenes; whether all went as expected.
pub fn play(scenes: &[&Scene], seconds: u64) -> Result<bool> {
    println!("KTAP version 1\n1..{}", scenes.len());
    report::print_header();
    let mut good = true;
    let mut hung = None;
    for (n, scene) in scenes.iter().enumerate() {
        let outcome = match hung {
            None => play_one(scene, seconds)?,
            Some(other) => Outcome {
                failure: Some(format!("not played: {other} hangs")),
                hung: false,
            },
        };
        if outcome.hung {
            hung = Some(scene.name);
        }
        let (n, name) = (n + 1, scene.name);
        match outcome.failure {
            None => println!("ok {n} {name}"),
            Some(why) => {
                good = false;
                println!("not ok {n} {name} # {why}");
            }
        }
    }
    Ok(good)
}

fn play_one(scene: &Scene, seconds: u64) -> Result<Outcome> {
    let health = Health::now();
    // The console may be silent meanwhile.
    let mut log = kmsg::Log::new()?;
    let mut trouble = Vec::new();
    let deadline = Instant::now() + scene.deadline + Duration::from_secs(scene.scaled(seconds));
    let mut child = Command::new(std::env::current_exe()?)
        .args(["scene", scene.name, "--seconds", &seconds.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let (sender, lines) = mpsc::channel();
    follow(child.stdout.take().context("no stdout")?, sender);
    let mut said = Said::default();
    let status = loop {
        // Processes of the scene may hold the pipe for ever; its own end counts.
        let status = child.try_wait()?;
        while let Ok(line) = lines.recv_timeout(Duration::from_millis(50)) {
            said.take(scene, &line);
        }
        trouble.append(&mut log.trouble()?);
        if status.is_some() || Instant::now() > deadline {
            break status;
        }
    };
    let stuck = end_all(&mut child);
    for process in &stuck {
        println!("# stuck: {process}");
    }
    trouble.append(&mut log.trouble()?);
    let failure = judge(status, said, stuck.len(), &health, &trouble);
    if failure.is_some() && stuck.is_empty() {
        clean_up();
    }
    Ok(Outcome {
        failure,
        hung: !stuck.is_empty(),
    })
}

/// Ends the scene's processes; those that can't be ended, and any other process
/// in D state.
fn end_all(child: &mut Child) -> Vec<Stuck> {
    let group = child.id();
    let mut stuck = kernel::sleepers();
    kill_group(child);
    for process in kernel::survivors(group) {
        if stuck.iter().all(|other| other.pid != process.pid) {
            stuck.push(process);
        }
    }
    // Reaps it if it has ended.
    let _ = child.try_wait();
    stuck
}

/// Passes lines on, until there are no more, or nothing wants them.
pub fn follow(from: impl Read + Send + 'static, to: Sender<String>) {
    thread::spawn(move || {
        let mut lines = BufReader::new(from).lines().map_while(Result::ok);
        lines.try_for_each(|line| to.send(line))
    });
}

/// Kills all processes of a group.
pub fn kill_group(leader: &Child) {
    let _ = killpg(Pid::from_raw(leader.id() as i32), Signal::SIGKILL);
}

/// What a scene has told that speaks against it.
#[derive(Default)]
struct Said {
    bad_rows: usize,
    error: Option<String>,
}

impl Said {
    /// Prints a line of a scene.
    fn take(&mut self, scene: &Scene, line: &str) {
        if let Some(row) = Row::decode(line) {
            row.print(scene.name);
            self.bad_rows += usize::from(!row.good());
        } else if let Some(error) = line.strip_prefix(report::ERROR) {
            self.error = Some(error.into());
        } else {
            println!("# {line}");
        }
    }
}

fn judge(
    status: Option<ExitStatus>,
    said: Said,
    stuck: usize,
    health: &Health,
    trouble: &[String],
) -> Option<String> {
    let mut why = Vec::new();
    match status {
        None => why.push("no end before its deadline".into()),
        Some(status) if !status.success() => {
            why.push(said.error.unwrap_or_else(|| status.to_string()));
        }
        Some(_) => (),
    }
    if said.bad_rows > 0 {
        why.push(format!("{} rows differ", said.bad_rows));
    }
    if stuck > 0 {
        why.push(format!("hung: {stuck} tasks"));
    }
    if *health != Health::now() {
        why.push(health.since());
    }
    if let Some(first) = trouble.first() {
        why.push(format!("the log says: {first}"));
    }
    (!why.is_empty()).then(|| why.join(", "))
}

/// Unmounts what a failed scene left. That may hang as well, so it is a process.
fn clean_up() {
    if !xfs::is_mounted() {
        return;
    }
    let Ok(mut umount) = Command::new("umount").arg(xfs::MOUNT_POINT).spawn() else {
        return;
    };
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end && umount.try_wait().is_ok_and(|status| status.is_none()) {
        thread::sleep(Duration::from_millis(50));
    }
}
