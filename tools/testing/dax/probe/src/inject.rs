// SPDX-License-Identifier: GPL-2.0

//! Allocations that fail on purpose, each once (CONFIG_FAILSLAB, CONFIG_FAIL_PAGE_ALLOC).
//!
//! A task is told which of its next ones fails (/proc/PID/fail-nth); counted are only those that
//! one function of the kernel makes, or what it calls.

use std::fs;
use std::ops::Range;

use anyhow::{Context, Result};

use crate::kernel::{Setting, SYMBOLS};

const DEBUG: &str = "/sys/kernel/debug";

/// Allocations of one function count while this lives.
pub struct Failing {
    _settings: Vec<Setting>,
}

impl Failing {
    /// `function` is a name in /proc/kallsyms, or for Rust the parts of one, separated by `*`.
    pub fn inside(function: &str) -> Result<Self> {
        let text = fs::read_to_string(SYMBOLS).context(SYMBOLS)?;
        let range =
            range_of(&text, function).with_context(|| format!("{function} is not in {SYMBOLS}"))?;
        let (start, end) = (format!("{:#x}", range.start), format!("{:#x}", range.end));
        let mut settings = Vec::new();
        for (file, value) in [
            ("failslab/ignore-gfp-wait", "N"),
            ("failslab/require-start", start.as_str()),
            ("failslab/require-end", &end),
            ("failslab/verbose", "0"),
            ("fail_page_alloc/ignore-gfp-wait", "N"),
            ("fail_page_alloc/ignore-gfp-highmem", "N"),
            ("fail_page_alloc/min-order", "0"),
            ("fail_page_alloc/require-start", &start),
            ("fail_page_alloc/require-end", &end),
            ("fail_page_alloc/verbose", "0"),
        ] {
            settings.push(Setting::new(&format!("{DEBUG}/{file}"), value)?);
        }
        Ok(Self {
            _settings: settings,
        })
    }

    /// Has all of them fail, as long as what is returned lives.
    pub fn always(&self) -> Result<Vec<Setting>> {
        let mut settings = Vec::new();
        for kind in ["failslab", "fail_page_alloc"] {
            for (file, value) in [("times", "-1"), ("probability", "100")] {
                settings.push(Setting::new(&format!("{DEBUG}/{kind}/{file}"), value)?);
            }
        }
        Ok(settings)
    }

    /// Has the `nth` allocation from now on fail, of each of these tasks.
    pub fn arm(&self, tasks: Vec<u32>, nth: u32) -> Result<Armed<'_>> {
        let armed = Armed { tasks, _of: self };
        armed.set(nth)?;
        Ok(armed)
    }
}

/// Tasks of which an allocation is to fail.
pub struct Armed<'a> {
    tasks: Vec<u32>,
    _of: &'a Failing,
}

impl Armed<'_> {
    fn set(&self, nth: u32) -> Result<()> {
        for task in &self.tasks {
            let path = path(*task);
            match fs::write(&path, nth.to_string()) {
                // A task of the kernel's that is gone.
                Err(e) if e.raw_os_error() == Some(libc::ESRCH) || !fs::exists(&path)? => (),
                done => done.context(path)?,
            }
        }
        Ok(())
    }

    /// Whether any has failed; none will now.
    pub fn fired(self) -> Result<bool> {
        let left = |task: &u32| fs::read_to_string(path(*task)).ok();
        let fired = self.tasks.iter().filter_map(left);
        let fired = fired.filter(|left| left.trim() == "0").count() > 0;
        self.set(0)?;
        Ok(fired)
    }
}

fn path(task: u32) -> String {
    format!("/proc/{task}/fail-nth")
}

/// The kernel's workers.
pub fn kworkers() -> Result<Vec<u32>> {
    let mut workers = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse() else {
            continue;
        };
        let comm = fs::read_to_string(format!("/proc/{pid}/comm"));
        if comm.is_ok_and(|comm| comm.starts_with("kworker/")) {
            workers.push(pid);
        }
    }
    Ok(workers)
}

/// Where a function lies: up to the next symbol.
fn range_of(symbols: &str, function: &str) -> Option<Range<u64>> {
    let list = symbols.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let address = u64::from_str_radix(words.next()?, 16).ok()?;
        Some((address, words.nth(1)?))
    });
    let matches = |name: &str| match function.contains('*') {
        true => function.split('*').all(|part| name.contains(part)),
        false => name == function,
    };
    let (start, _) = list.clone().find(|(_, name)| matches(name))?;
    let end = list.map(|(address, _)| address).filter(|at| *at > start);
    Some(start..end.min()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_lies_before_the_next() {
        let text = "\
ffffffff81000100 T _Rone6worker3run
ffffffff81000000 t other\t[xfs]
ffffffff81000180 T last
ffffffff81000100 T alias
";
        let range = 0xffff_ffff_8100_0100..0xffff_ffff_8100_0180;
        assert_eq!(range_of(text, "6worker*3run"), Some(range.clone()));
        assert_eq!(range_of(text, "alias"), Some(range));
        assert_eq!(range_of(text, "other").unwrap().end, 0xffff_ffff_8100_0100);
        assert_eq!(range_of(text, "las"), None);
    }
}
