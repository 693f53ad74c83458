// SPDX-License-Identifier: GPL-2.0

//! What is declared of a scene, and the list of it for a reader and for `dax-lab`.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use serde_json::{json, Value};

use super::end::Before;
use crate::kernel::limit;

/// Where pmem comes from: the kernel's command line, an ACPI NFIT, either of them, or CXL devices.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Platforms {
    Legacy,
    Nfit,
    Both,
    Cxl,
}

/// What it needs of the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    /// A kernel that fails on purpose.
    Debug,
    /// XFS's online scrub and repair.
    Scrub,
}

/// What is seen of a scene on the stock kernel; `dax-lab test --also stock` holds it to it.
#[derive(Clone, Copy)]
enum Stock {
    /// It is as expected, and shows nothing about the series alone; why.
    Passes(&'static str),
    /// This row of the table differs, and stock gets this there; where that varies, "".
    Differs(&'static str, &'static str),
    /// The kernel dies, and its console has these words.
    Crashes(&'static str),
    /// Tasks are stuck for good, and one of them is in this function.
    Hangs(&'static str),
    /// The scene gives up with these words.
    Ends(&'static str),
}

pub struct Scene {
    pub number: u32,
    pub name: &'static str,
    about: &'static str,
    pub deadline: Duration,
    /// Whether the scene runs for as long as the user asks, on top of the deadline.
    timed: bool,
    platforms: Platforms,
    /// If it needs anything, it is played where that is there, or when named.
    needs: Needs,
    /// Whether it has to be faster than a kernel that checks itself.
    fast: bool,
    /// One of these, where it varies; none: it needs what that kernel does not have.
    stock: [Option<Stock>; 3],
    /// Whether the stock kernel is as it was after it. One that is not gets a guest of its own.
    harmless: bool,
    /// Plays the scene; the argument is that time in seconds.
    play: fn(u64) -> Result<()>,
}

/// What a declaration says beside number, name and play; by default a scene is played on the
/// legacy platform alone.
impl Scene {
    pub const fn new(
        number: u32,
        name: &'static str,
        about: &'static str,
        play: fn(u64) -> Result<()>,
    ) -> Self {
        Self {
            number,
            name,
            about,
            deadline: Duration::from_secs(120),
            timed: false,
            platforms: Platforms::Legacy,
            needs: Needs::Nothing,
            fast: false,
            stock: [None; 3],
            harmless: false,
            play,
        }
    }

    pub const fn timed(self) -> Self {
        Self {
            timed: true,
            ..self
        }
    }

    /// It does much.
    pub const fn long(self) -> Self {
        let deadline = Duration::from_secs(300);
        Self { deadline, ..self }
    }

    /// It needs pmem that an ACPI NFIT describes.
    pub const fn nfit(self) -> Self {
        let platforms = Platforms::Nfit;
        Self { platforms, ..self }
    }

    pub const fn both(self) -> Self {
        let platforms = Platforms::Both;
        Self { platforms, ..self }
    }

    /// It needs CXL memory devices.
    pub const fn cxl(self) -> Self {
        let platforms = Platforms::Cxl;
        Self { platforms, ..self }
    }

    pub const fn debug(self) -> Self {
        let needs = Needs::Debug;
        Self { needs, ..self }
    }

    pub const fn scrub(self) -> Self {
        let needs = Needs::Scrub;
        Self { needs, ..self }
    }

    pub const fn fast(self) -> Self {
        Self { fast: true, ..self }
    }

    /// The last of its declarations come first.
    const fn stock(self, way: Stock) -> Self {
        let stock = [Some(way), self.stock[0], self.stock[1]];
        Self { stock, ..self }
    }

    pub const fn passes(self, why: &'static str) -> Self {
        self.stock(Stock::Passes(why)).harmless()
    }

    pub const fn differs(self, row: &'static str, got: &'static str) -> Self {
        self.stock(Stock::Differs(row, got))
    }

    pub const fn crashes(self, words: &'static str) -> Self {
        self.stock(Stock::Crashes(words))
    }

    pub const fn hangs(self, function: &'static str) -> Self {
        self.stock(Stock::Hangs(function))
    }

    pub const fn ends(self, words: &'static str) -> Self {
        self.stock(Stock::Ends(words))
    }

    pub const fn harmless(self) -> Self {
        let harmless = true;
        Self { harmless, ..self }
    }
}

impl Scene {
    /// Whether it can be played anywhere: the others are played when named only.
    pub fn is_for_all(&self) -> bool {
        matches!(self.platforms, Platforms::Legacy | Platforms::Both)
            && self.needs == Needs::Nothing
    }

    /// Seconds beyond the deadline: those that the user asks for, and more where the machine is
    /// slow.
    pub fn scaled(&self, seconds: u64) -> u64 {
        let slow = limit(self.deadline.as_secs()) - self.deadline;
        slow.as_secs() + if self.timed { seconds } else { 0 }
    }

    /// Plays it, in this process, and looks what it has left.
    pub fn run(&self, seconds: u64) -> Result<()> {
        let before = Before::now()?;
        (self.play)(seconds)?;
        // The stock kernel does not take back what a simulated error has cost.
        before.expect_clean(self.passes_on_stock().is_none())
    }

    /// Why, if it shows nothing about the series alone.
    fn passes_on_stock(&self) -> Option<&'static str> {
        self.stock.iter().flatten().find_map(|way| match way {
            Stock::Passes(why) => Some(*why),
            _ => None,
        })
    }

    /// All that `dax-lab` has to know.
    pub fn json(&self) -> Value {
        let ways = self.stock.iter().flatten().map(|way| match way {
            Stock::Passes(why) => json!({ "passes": why }),
            Stock::Differs(row, got) => json!({ "differs": [row, got] }),
            Stock::Crashes(words) => json!({ "crashes": words }),
            Stock::Hangs(function) => json!({ "hangs": function }),
            Stock::Ends(words) => json!({ "ends": words }),
        });
        json!({
            "number": self.number,
            "name": self.name,
            "about": self.about,
            "legacy": matches!(self.platforms, Platforms::Legacy | Platforms::Both),
            "nfit": matches!(self.platforms, Platforms::Nfit | Platforms::Both),
            "cxl": self.platforms == Platforms::Cxl,
            "debug": self.needs == Needs::Debug,
            "scrub": self.needs == Needs::Scrub,
            "fast": self.fast,
            "stock": ways.collect::<Vec<_>>(),
            "harmless": self.harmless,
        })
    }
}

/// A line of the list for a reader.
impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:3} {:18} {}", self.number, self.name, self.about)?;
        match self.platforms {
            Platforms::Nfit => write!(f, " (nfit)")?,
            Platforms::Cxl => write!(f, " (cxl)")?,
            Platforms::Legacy | Platforms::Both => (),
        }
        match self.passes_on_stock() {
            Some(why) => write!(f, " (stock passes it too: {why})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ALL;
    use super::*;

    #[test]
    fn what_stock_makes_of_a_scene_is_said() {
        for scene in ALL {
            let unsaid = scene.stock[0].is_none();
            assert_eq!(unsaid, scene.needs != Needs::Nothing, "{}", scene.name);
        }
    }
}
