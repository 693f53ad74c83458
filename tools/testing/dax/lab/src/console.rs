// SPDX-License-Identifier: GPL-2.0

//! Watches a guest's console for signs that the kernel is unwell.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::Result;
use regex_lite::Regex;

#[path = "../../probe/src/trouble.rs"]
mod trouble;
pub use trouble::WORDS;

/// After these nothing more is to be expected of the guest.
const FATAL: &str = "Kernel panic|Oops: |kernel BUG at";

/// TCG does not model cross-modifying code: a static branch that is being patched
/// may be run half-patched. No fault of the kernel.
const EMULATION: &str = "Oops: int3";

pub struct Console {
    path: PathBuf,
    read: u64,
    rest: Vec<u8>,
    rules: Rules,
    pub findings: Vec<String>,
    pub fatal: bool,
}

impl Console {
    pub fn new(path: &Path, allow: Option<&Regex>) -> Result<Self> {
        Ok(Self {
            path: path.into(),
            read: 0,
            rest: Vec::new(),
            rules: Rules {
                fatal: Regex::new(FATAL)?,
                allow: allow.cloned(),
            },
            findings: Vec::new(),
            fatal: false,
        })
    }

    /// Reads what has been added since the last call.
    pub fn poll(&mut self) -> Result<()> {
        // QEMU creates the file when it starts.
        let Ok(mut file) = File::open(&self.path) else {
            return Ok(());
        };
        file.seek(SeekFrom::Start(self.read))?;
        self.read += file.read_to_end(&mut self.rest)? as u64;
        while let Some(end) = self.rest.iter().position(|&b| b == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end();
            if self.rules.is_bad(line) {
                self.fatal |= self.rules.fatal.is_match(line);
                self.findings.push(line.into());
            }
        }
        Ok(())
    }

    pub fn emulation_fault(findings: &[String]) -> bool {
        findings.iter().any(|line| line.contains(EMULATION))
    }
}

struct Rules {
    fatal: Regex,
    allow: Option<Regex>,
}

impl Rules {
    fn is_bad(&self, line: &str) -> bool {
        let allowed = self
            .allow
            .as_ref()
            .is_some_and(|allow| allow.is_match(line));
        WORDS.iter().any(|word| line.contains(word)) && !allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allow: Option<&str>) -> Rules {
        Rules {
            fatal: Regex::new(FATAL).unwrap(),
            allow: allow.map(|text| Regex::new(text).unwrap()),
        }
    }

    #[test]
    fn trouble_is_seen() {
        for line in [
            "[    1.0] Kernel panic - not syncing: VFS: Unable to mount root fs",
            "[    1.0] Oops: int3: 0000 [#1] SMP",
            "[    1.0] BUG: KASAN: slab-use-after-free in foo",
            "[    1.0] WARNING: drivers/dax/super.c:158 at fs_put_dax+0x1/0x2, CPU#0: umount/80",
            "[    1.0] WARNING: possible circular locking dependency detected",
            "[   61.0] INFO: task dax-probe:80 blocked for more than 60 seconds.",
            "[   61.0] rcu: INFO: rcu_sched self-detected stall on CPU",
            "[   61.0] watchdog: BUG: soft lockup - CPU#0 stuck for 26s!",
        ] {
            assert!(rules(None).is_bad(line), "{line}");
        }
    }

    #[test]
    fn what_the_scenes_cause_is_no_trouble() {
        for line in [
            "[    3.0] Memory failure: 0x100010: Sending SIGBUS to dax-probe:80 due to hardware memory corruption",
            "[    3.0] XFS (pmem0): Corruption of on-disk metadata detected.  Shutting down filesystem",
            "[    3.0] XFS (pmem0): Device is about to be removed!",
            "[    3.0] mce: [Hardware Error]: CPU 1: Machine Check Exception: 5 Bank 9: bd000000000000c0",
            "[    3.0] mce: [Hardware Error]: Machine check events logged",
            "[    3.0] Disabling lock debugging due to kernel taint",
        ] {
            assert!(!rules(None).is_bad(line), "{line}");
        }
    }

    #[test]
    fn allowed_lines_pass() {
        let line = "[   61.0] INFO: task dax-probe:80 blocked for more than 60 seconds.";
        assert!(!rules(Some("blocked for more")).is_bad(line));
        assert!(rules(Some("something else")).is_bad(line));
    }
}
