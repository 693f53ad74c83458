// SPDX-License-Identifier: GPL-2.0

//! How long the AGF buffer is locked, from XFS's tracepoints.

use std::collections::HashMap;

use anyhow::Result;

use crate::trace::{all, set};

const LOCKED: [&str; 2] = ["xfs_buf_lock_done", "xfs_buf_trylock"];
const UNLOCKED: &str = "xfs_buf_unlock";

/// Traces the locking of one buffer while it lives.
pub struct Trace;

impl Trace {
    /// `sector` is where the buffer lies on its device.
    pub fn start(sector: u64) -> Result<Self> {
        let trace = Self;
        set("tracing_on", "0")?;
        set("trace_clock", "mono")?;
        set("trace", "")?;
        for event in LOCKED.into_iter().chain([UNLOCKED]) {
            let filter = format!("bno == {sector}");
            set(&format!("events/xfs/{event}/filter"), &filter)?;
            set(&format!("events/xfs/{event}/enable"), "1")?;
        }
        set("tracing_on", "1")?;
        Ok(trace)
    }

    /// Ends tracing. Nanoseconds for which process `pid` held the buffer, each time.
    pub fn holds(self, pid: u32) -> Result<Vec<u64>> {
        set("tracing_on", "0")?;
        Ok(holds(&all()?, pid))
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        for event in LOCKED.into_iter().chain([UNLOCKED]) {
            // At worst the next samples are a little slower.
            let _ = set(&format!("events/xfs/{event}/enable"), "0");
        }
    }
}

fn holds(trace: &str, pid: u32) -> Vec<u64> {
    let mut since = HashMap::new();
    let mut holds = Vec::new();
    for event in trace.lines().filter_map(Event::parse) {
        if LOCKED.contains(&event.name) {
            since.insert(event.pid, event.time_ns);
        } else if event.name == UNLOCKED {
            if let (Some(start), true) = (since.remove(&event.pid), event.pid == pid) {
                holds.push(event.time_ns - start);
            }
        }
    }
    holds
}

struct Event<'a> {
    pid: u32,
    time_ns: u64,
    name: &'a str,
}

impl<'a> Event<'a> {
    /// `   dax-probe-81    [000] .....    12.345678: xfs_buf_unlock: dev ...`
    fn parse(line: &'a str) -> Option<Self> {
        let (task, rest) = line.split_once(" [")?;
        let (_, pid) = task.trim_end().rsplit_once('-')?;
        let mut words = rest.split_whitespace().skip(2);
        let (seconds, micros) = words.next()?.strip_suffix(':')?.split_once('.')?;
        let (seconds, micros): (u64, u64) = (seconds.parse().ok()?, micros.parse().ok()?);
        Some(Self {
            pid: pid.parse().ok()?,
            time_ns: (seconds * 1_000_000 + micros) * 1000,
            name: words.next()?.strip_suffix(':')?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_injector_counts() {
        let text = "\
# tracer: nop
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
       dax-probe-81      [000] .....    12.000100: xfs_buf_trylock: dev 259:0 daddr 0x8
  kworker/u9:0-x-7       [001] .....    12.000200: xfs_buf_lock_done: dev 259:0 daddr 0x8
       dax-probe-81      [000] .....    12.000350: xfs_buf_unlock: dev 259:0 daddr 0x8
  kworker/u9:0-x-7       [001] .....    12.900000: xfs_buf_unlock: dev 259:0 daddr 0x8
       dax-probe-81      [000] .....    12.999999: xfs_buf_lock_done: dev 259:0 daddr 0x8
       dax-probe-81      [000] .....    13.000001: xfs_buf_unlock: dev 259:0 daddr 0x8
";
        assert_eq!(holds(text, 81), [250_000, 2_000]);
        assert_eq!(holds(text, 7), [899_800_000]);
    }
}
