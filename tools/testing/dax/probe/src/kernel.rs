// SPDX-License-Identifier: GPL-2.0

//! What the kernel tells about itself and about stuck processes.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;

use crate::pace::{self, Reference};

pub fn last_errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Symbolic name of an error.
pub fn errno_name(errno: i32) -> String {
    match Errno::from_raw(errno) {
        Errno::UnknownErrno if errno == 0 => "0".into(),
        Errno::UnknownErrno => format!("errno {errno}"),
        Errno::EUCLEAN => "EFSCORRUPTED".into(),
        errno => format!("{errno:?}"),
    }
}

pub fn error_name(error: &io::Error) -> String {
    errno_name(error.raw_os_error().unwrap_or(-1))
}

/// "0", or the error's name.
pub fn outcome_name<T>(done: nix::Result<T>) -> String {
    errno_name(done.err().map_or(0, |errno| errno as i32))
}

/// Waits until something is so, with pauses; whether it came to that.
pub fn until(
    limit: Duration,
    pause: Duration,
    mut so: impl FnMut() -> Result<bool>,
) -> Result<bool> {
    let end = Instant::now() + limit;
    while !so()? {
        if Instant::now() > end {
            return Ok(false);
        }
        sleep(pause);
    }
    Ok(true)
}

/// Kilobytes of memory that count as lost.
pub fn hardware_corrupted() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let value = text.lines().find_map(|line| {
        let rest = line.strip_prefix("HardwareCorrupted:")?;
        rest.split_whitespace().next()?.parse().ok()
    });
    value.ok_or_else(|| io::Error::other("no HardwareCorrupted in /proc/meminfo"))
}

/// The address of a function of the kernel.
pub fn symbol(name: &str) -> Result<u64> {
    let text = fs::read_to_string(SYMBOLS).context(SYMBOLS)?;
    let line = text
        .lines()
        .find(|line| line.split(' ').nth(2) == Some(name));
    let line = line.with_context(|| format!("{name} is not in {SYMBOLS}"))?;
    let address = line.split(' ').next().unwrap_or_default();
    u64::from_str_radix(address, 16).with_context(|| line.to_string())
}

/// How many machine checks the CPUs have taken.
pub fn machine_checks() -> Result<u64> {
    const INTERRUPTS: &str = "/proc/interrupts";
    let text = fs::read_to_string(INTERRUPTS)?;
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("MCE:"));
    let counts = line.with_context(|| format!("no MCE in {INTERRUPTS}"))?;
    Ok(counts
        .split_whitespace()
        .map_while(|word| word.parse::<u64>().ok())
        .sum())
}

/// Whether the page at a physical address is in the direct map (CONFIG_PTDUMP_DEBUGFS).
pub fn is_mapped(physical: u64) -> io::Result<bool> {
    let tables = File::open("/sys/kernel/debug/page_tables/kernel")?;
    let mut base = None;
    let mut here = false;
    for line in BufReader::new(tables).lines() {
        let line = line?;
        if line.starts_with("---[") {
            here = line.contains("Low Kernel Mapping");
        }
        let mut words = line.split_whitespace();
        let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
        let range = words.next().and_then(|word| word.split_once('-'));
        let range = range.and_then(|(start, end)| number(start).zip(number(end)));
        let Some((start, end)) = range.filter(|_| here) else {
            continue;
        };
        let address = *base.get_or_insert(start) + physical;
        // Behind it the size, and the flags of what is present.
        if (start..end).contains(&address) {
            return Ok(words
                .nth(1)
                .is_some_and(|flag| ["RW", "ro"].contains(&flag)));
        }
    }
    Err(io::Error::other("no direct map in page_tables/kernel"))
}

/// A process that the kernel does not let go.
pub struct Stuck {
    pub pid: u32,
    stat: Stat,
    stack: String,
}

/// How long a task may be in D state, or on its way to its end, before it is stuck.
const LONG: u64 = 10;
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(300);
/// What [`limit`] compares with: a guest of the lab on a machine with two CPUs that has nothing
/// else to do. Kept in memory, so that all processes of a guest have the same limits.
const REFERENCE: Reference = Reference {
    spin: Duration::from_millis(10),
    spawn: Duration::from_millis(100),
};
/// The kernel's functions.
pub const SYMBOLS: &str = "/proc/kallsyms";
const PACE: &str = "/run/dax-probe.pace";

/// A limit of so many seconds, or more where the machine is slow.
pub fn limit(seconds: u64) -> Duration {
    Duration::from_secs(seconds).mul_f64(pace::factor(&REFERENCE, PACE))
}

/// The processes that stay in D state for a second and a half: they wait, and may yet be woken.
pub fn waiters() -> Vec<Stuck> {
    lasting(PAUSE * 5, |stat| stat.state == 'D')
}

/// The processes that stay in D state for as long as no healthy one does.
pub fn sleepers() -> Vec<Stuck> {
    lasting(limit(LONG), |stat| stat.state == 'D')
}

/// The processes of a group that outlive a SIGKILL for long: in D state, or running in the
/// kernel without an end.
pub fn survivors(group: u32) -> Vec<Stuck> {
    lasting(limit(LONG), |stat| {
        stat.group == group && !matches!(stat.state, 'Z' | 'X')
    })
}

/// The processes that match now and at each look for so long.
fn lasting(time: Duration, matches: impl Fn(&Stat) -> bool) -> Vec<Stuck> {
    let look = || -> Vec<u32> {
        let all = processes().into_iter();
        all.filter(|&pid| Stat::read(pid).is_some_and(|stat| matches(&stat)))
            .collect()
    };
    let end = Instant::now() + time;
    let mut pids = look();
    while !pids.is_empty() && Instant::now() < end {
        sleep(PAUSE);
        let now = look();
        pids.retain(|pid| now.contains(pid));
    }
    pids.into_iter().filter_map(Stuck::new).collect()
}

fn processes() -> Vec<u32> {
    let Ok(dir) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    dir.flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// From /proc/PID/stat.
struct Stat {
    comm: String,
    state: char,
    group: u32,
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name may hold anything, so fields are counted from its last bracket.
    fn parse(text: &str) -> Option<Self> {
        let (front, back) = text.rsplit_once(')')?;
        let mut fields = back.split_whitespace();
        Some(Self {
            comm: front.split_once('(')?.1.into(),
            state: fields.next()?.chars().next()?,
            group: fields.nth(1)?.parse().ok()?,
        })
    }
}

impl Stuck {
    /// Whether the function is one of those that it is in.
    pub fn is_in(&self, function: &str) -> bool {
        self.stack.contains(&format!(" {function}+"))
    }

    fn new(pid: u32) -> Option<Self> {
        Some(Self {
            pid,
            stat: Stat::read(pid)?,
            stack: fs::read_to_string(format!("/proc/{pid}/stack")).unwrap_or_default(),
        })
    }
}

/// On one line, the innermost functions first.
impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frames = self.stack.lines().filter_map(|line| {
            let name = line.split_whitespace().nth(1)?;
            name.split('+').next()
        });
        let trace: Vec<_> = frames.take(8).collect();
        let (pid, comm, state) = (self.pid, &self.stat.comm, self.stat.state);
        write!(f, "{pid} {comm} (state {state}) {}", trace.join(" < "))
    }
}

/// Marks that outlive the message: the taint flags, and the number of tasks that
/// the hung-task detector has found.
#[derive(PartialEq, Eq, Clone)]
pub struct Health {
    taint: u64,
    hung: u64,
}

/// Set by machine checks, which scenes cause.
const TAINT_MACHINE_CHECK: u64 = 1 << 4;

impl Health {
    pub fn now() -> Self {
        let read = |name: &str| {
            let text = fs::read_to_string(format!("/proc/sys/kernel/{name}"));
            text.map_or(0, |text| text.trim().parse().unwrap_or(0))
        };
        Self {
            taint: read("tainted") & !TAINT_MACHINE_CHECK,
            hung: read("hung_task_detect_count"),
        }
    }

    /// What has come up since `self`.
    pub fn since(&self) -> String {
        let now = Self::now();
        if *self == now {
            return "no warning, no hung task".into();
        }
        format!(
            "tainted {} -> {}, hung tasks {} -> {}",
            self.taint, now.taint, self.hung, now.hung
        )
    }
}

/// A setting of the kernel, which is put back when this is dropped.
pub struct Setting {
    path: String,
    old: String,
}

impl Setting {
    pub fn new(path: &str, value: &str) -> Result<Self> {
        let old = fs::read_to_string(path).with_context(|| path.to_string())?;
        fs::write(path, value).with_context(|| format!("{value} > {path}"))?;
        Ok(Self {
            path: path.into(),
            old,
        })
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        // Best effort.
        let _ = fs::write(&self.path, self.old.trim());
    }
}

/// Keeps all but critical messages from the console while it lives. Each injected
/// error logs three lines; on a serial console they would be most of the work.
pub struct QuietConsole {
    _printk: Setting,
}

impl QuietConsole {
    pub fn new() -> Result<Self> {
        Ok(Self {
            _printk: Setting::new("/proc/sys/kernel/printk", "3")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use nix::sys::signal::{kill, Signal};
    use nix::unistd::Pid;

    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat = Stat::parse("12 (a) D 9 (b)) S 1 77 77 0").unwrap();
        assert_eq!(stat.comm, "a) D 9 (b)");
        assert_eq!((stat.state, stat.group), ('S', 77));
        assert!(Stat::parse("12").is_none());
    }

    /// A process that is stopped stays so; one that goes on in between is not among them.
    #[test]
    fn only_what_lasts_is_stuck() {
        let start = |words: &str| Command::new("sh").args(["-c", words]).spawn().unwrap();
        let mut stops = start("kill -STOP $$");
        let mut goes_on = start("kill -STOP $$");
        let pids = [stops.id(), goes_on.id()];
        let stopped = |stat: &Stat| stat.state == 'T';
        let both = || {
            let stopped = |pid: &u32| Stat::read(*pid).is_some_and(|stat| stat.state == 'T');
            pids.iter().all(stopped)
        };
        while !both() {
            sleep(Duration::from_millis(5));
        }
        let later = std::thread::spawn(move || {
            sleep(Duration::from_millis(100));
            kill(Pid::from_raw(pids[1] as i32), Signal::SIGCONT).unwrap();
        });
        let found = lasting(PAUSE * 3, stopped);
        later.join().unwrap();
        let found = |pid| found.iter().any(|stuck| stuck.pid == pid);
        assert!(found(pids[0]));
        assert!(!found(pids[1]));
        goes_on.wait().unwrap();
        stops.kill().unwrap();
        stops.wait().unwrap();
    }

    #[test]
    fn this_process_is_found() {
        let pid = std::process::id();
        assert!(processes().contains(&pid));
        assert!(Stat::read(pid).is_some());
    }
}
