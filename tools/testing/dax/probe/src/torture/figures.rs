// SPDX-License-Identifier: GPL-2.0

//! What was done, in figures that can be added up, and how fast this machine is.

use std::fmt;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::units::PAGE;

/// What was done.
#[derive(Default)]
pub struct Stats {
    pub steps: u64,
    pub skipped: u64,
    /// Errors by machine checks of which none was consumed, and one was.
    pub optional: u64,
    pub required: u64,
    /// Errors that a scrub found, of a page and of a sector.
    pub pages: u64,
    pub sectors: u64,
    pub simulated: u64,
    /// Of all these, those that hit no file.
    pub free: u64,
    pub metadata: u64,
    pub signals: u64,
    pub mounts: u64,
    pub compared: u64,
    /// What concurrent actors did.
    pub acts: u64,
}

impl Stats {
    /// A scrub has found so many bytes.
    pub fn found(&mut self, len: u64) {
        let kind = if len < PAGE {
            &mut self.sectors
        } else {
            &mut self.pages
        };
        *kind += 1;
    }

    /// Errors that leave marks.
    pub fn real(&self) -> u64 {
        self.optional + self.required + self.pages + self.sectors
    }
}

/// Numbers with names: dax-lab adds them up.
impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = [
            (self.steps, "steps"),
            (self.skipped, "that could not be taken"),
            (self.real() + self.simulated, "errors"),
            (self.optional, "machine checks"),
            (self.required, "machine checks that a process met"),
            (self.pages, "pages found by a scrub"),
            (self.sectors, "sectors found by a scrub"),
            (self.simulated, "simulated"),
            (self.free, "in free space or reserved"),
            (self.metadata, "in metadata or the log"),
            (self.signals, "signals"),
            (self.mounts, "mounts"),
            (self.compared, "comparisons"),
            (self.acts, "acts beside them"),
        ];
        let words = figures.map(|(number, name)| format!("{number} {name}"));
        f.write_str(&words.join(", "))
    }
}

/// In percent, of what a kernel without debugging takes under emulation.
static PACE: AtomicU64 = AtomicU64::new(100);

/// Measures how fast this machine is, for limits of time; in percent.
pub fn measure_pace() -> u64 {
    const USUAL: Duration = Duration::from_millis(40);
    const ROUNDS: usize = 500;
    let start = Instant::now();
    for _ in 0..ROUNDS {
        let path = "/run/torture-pace";
        let _ = fs::write(path, "x").and_then(|()| fs::remove_file(path));
    }
    let pace = start.elapsed().as_millis() as u64 * 100 / USUAL.as_millis() as u64;
    PACE.store(pace.clamp(100, 2000), Relaxed);
    pace
}

/// A limit of time, on this machine.
pub fn scaled(limit: Duration) -> Duration {
    limit * PACE.load(Relaxed) as u32 / 100
}
