// SPDX-License-Identifier: GPL-2.0

//! One of the kernel's trace events, from some moment on.

use std::fs;

use anyhow::{Context, Result};

use crate::kernel::Setting;

const TRACING: &str = "/sys/kernel/tracing";

/// Traces an event while it lives. One at a time: they have one buffer in common.
pub struct Trace {
    name: &'static str,
    _enabled: Setting,
}

impl Trace {
    /// `event` is a group and a name in it, as in `signal/signal_generate`.
    pub fn new(event: &'static str) -> Result<Self> {
        let enable = format!("{TRACING}/events/{event}/enable");
        let trace = Self {
            name: event.rsplit('/').next().unwrap_or(event),
            _enabled: Setting::new(&enable, "1")?,
        };
        trace.clear()?;
        Ok(trace)
    }

    /// Forgets what has come so far.
    pub fn clear(&self) -> Result<()> {
        set("trace", "")
    }

    /// What has come, each in the words of the event.
    pub fn events(&self) -> Result<Vec<String>> {
        Ok(parse(&all()?, self.name))
    }
}

/// What has come of all events.
pub fn all() -> Result<String> {
    let path = format!("{TRACING}/trace");
    fs::read_to_string(&path).context(path)
}

pub fn set(file: &str, value: &str) -> Result<()> {
    let path = format!("{TRACING}/{file}");
    fs::write(&path, value).context(path)
}

fn parse(trace: &str, name: &str) -> Vec<String> {
    let start = format!(": {name}: ");
    let lines = trace.lines().filter_map(|line| line.split_once(&start));
    lines.map(|(_, words)| words.trim().into()).collect()
}

/// Counts each SIGBUS that is sent while it lives, also one that meets a pending one and is lost.
pub struct Signals(Trace);

impl Signals {
    pub fn new() -> Result<Self> {
        Ok(Self(Trace::new("signal/signal_generate")?))
    }

    /// How many were sent since the last call, to process `pid` or to all.
    pub fn count(&self, pid: Option<u32>) -> Result<String> {
        let events = self.0.events()?;
        self.0.clear()?;
        let is_meant = |event: &&String| {
            let mut words = event.split(' ');
            let has = |pid: u32| event.split(' ').any(|word| word == format!("pid={pid}"));
            words.next() == Some("sig=7") && pid.is_none_or(has)
        };
        Ok(events.iter().filter(is_meant).count().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_trace() {
        let text = "\
# tracer: nop
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
       dax-probe-81      [000] .....    12.000100: signal_generate: sig=7 errno=0 code=5 comm=dax-probe pid=82 grp=0 res=0
       dax-probe-81      [000] .....    12.000200: signal_deliver: sig=7 errno=0 code=5 sa_handler=0 sa_flags=0
";
        assert_eq!(
            parse(text, "signal_generate"),
            ["sig=7 errno=0 code=5 comm=dax-probe pid=82 grp=0 res=0"]
        );
    }
}
