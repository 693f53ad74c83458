// SPDX-License-Identifier: GPL-2.0

//! The worker of the mount, as it shows in sysfs.

use crate::scenes::prelude::*;

const DIR: &str = "/sys/fs/xfs/pmem0/dax";
const NFIT: &str = "/sys/bus/acpi/devices/ACPI0012:00";
/// What a row says where there is no such directory. dax-lab does not take it for a failure of
/// the stock kernel, which has none.
pub const NO_COUNTERS: &str = "counters: not here";
const NAMES: [&str; 4] = ["poisoned", "repaired", "stuck", "healed"];

fn read(name: &str) -> Result<u64> {
    let path = format!("{DIR}/{name}");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    text.trim().parse().context(path)
}

/// Waits until it has nothing more to do. A kernel that has no worker is not waited
/// for: what its memory is like then shows soon enough.
pub fn settle() -> Result<()> {
    if !Path::new(DIR).exists() {
        return Ok(());
    }
    let idle = until(|| Ok(read("pending")? == 0))?;
    let seconds = patience().as_secs();
    ensure!(idle, "{DIR}/pending is not 0 after {seconds} s");
    Ok(())
}

/// Blocks that it has counted, by [`NAMES`].
pub struct Counts([Option<u64>; NAMES.len()]);

impl Counts {
    pub fn now() -> Self {
        Self(NAMES.map(|name| read(name).ok()))
    }

    /// As a mount begins.
    pub fn of_new_mount() -> Self {
        Self([Some(0); NAMES.len()])
    }

    /// How many more blocks are counted by this name, which is one of [`NAMES`]; in words.
    pub fn more(&self, name: &str) -> String {
        let all = NAMES.iter().zip(&self.0).find(|(other, _)| **other == name);
        match (all, read(name)) {
            (Some((_, Some(before))), Ok(now)) => now.saturating_sub(*before).to_string(),
            _ => NO_COUNTERS.into(),
        }
    }

    /// What was counted since, such as "1 poisoned, 1 repaired".
    pub fn since(&self) -> String {
        self.since_but(|_| [0; 2])
    }

    /// The same, where `poisoned` blocks were reported, of which `repaired` are repaired. Where
    /// there is an NFIT, its driver lists an error of a machine check too, and a block that its
    /// worker tells before or after the machine check comes twice. It is repaired twice only if
    /// the first repair came in between.
    pub fn since_of(&self, poisoned: u64, repaired: u64) -> String {
        let nfit = Path::new(NFIT).exists();
        self.since_but(|more| {
            if !nfit {
                return [0; 2];
            }
            let twice = more[0].saturating_sub(poisoned);
            [twice, more[1].saturating_sub(repaired).min(twice)]
        })
    }

    /// What was counted since, but for what was poisoned, and repaired, once too often.
    fn since_but(&self, twice: impl Fn([u64; NAMES.len()]) -> [u64; 2]) -> String {
        let mut words = Vec::new();
        let mut more = [0; NAMES.len()];
        for (more, (before, now)) in more.iter_mut().zip(self.0.iter().zip(Self::now().0)) {
            let (Some(before), Some(now)) = (before, now) else {
                return NO_COUNTERS.into();
            };
            *more = now.saturating_sub(*before);
        }
        let twice = twice(more);
        for (n, more) in more.into_iter().enumerate() {
            match more.saturating_sub(twice.get(n).copied().unwrap_or(0)) {
                0 => (),
                more => words.push(format!("{more} {}", NAMES[n])),
            }
        }
        if words.is_empty() {
            return "nothing".into();
        }
        words.join(", ")
    }
}
