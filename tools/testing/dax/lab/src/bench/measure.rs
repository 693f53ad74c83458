// SPDX-License-Identifier: GPL-2.0

//! The measurements, round by round.

use std::time::Instant;

use anyhow::{Context, Result};

use super::driver::Guests;
use super::plan::{injections, Cell, Kind, Plan, HEALTHY, STATES};
use super::progress::Progress;
use super::samples::Samples;
use super::stats::{interval, median, speedups, Pair, Summary};
use crate::lab::Side;

const NS_PER_MS: f64 = 1e6;
/// How long one sample of healthy memory takes: long beside what interrupts it, and
/// short beside what changes on the host.
const HEALTHY_NS: f64 = 150e6;
/// Pages of the file that healthy memory is tried with.
const PAGES: f64 = 2048.0;

/// How long notifications took, in milliseconds.
pub struct Notified {
    pub cell: Cell,
    /// From the injection to the last signal, a median for each round.
    pub last_signal: Vec<Pair<f64>>,
}

impl Notified {
    pub fn stock(&self) -> Summary {
        Summary::of(self.last_signal.iter().map(|round| round.stock))
    }

    pub fn patched(&self) -> Summary {
        Summary::of(self.last_signal.iter().map(|round| round.patched))
    }

    pub fn speedup(&self) -> f64 {
        median(speedups(&self.last_signal))
    }
}

/// The longest time that a notification held the AGF, in milliseconds.
pub struct Locked {
    pub cell: Cell,
    pub longest: Vec<Pair<f64>>,
}

/// Pages that failed right after one another, in milliseconds.
pub struct Failed {
    pub pages: usize,
    /// From the first injection to the last signal.
    pub told: Vec<Pair<f64>>,
    /// From the first injection to the last repair, of free blocks. The stock kernel repairs none.
    pub repaired: Vec<f64>,
}

/// What a page of healthy memory took, in microseconds.
pub struct Used {
    pub kind: &'static Kind,
    pub state: &'static Kind,
    pub per_page: Vec<Pair<f64>>,
}

impl Used {
    pub fn about(&self) -> String {
        format!("{}; {}", self.kind.about, self.state.about)
    }

    pub fn speedup(&self) -> Summary {
        interval(speedups(&self.per_page))
    }
}

pub fn notified(
    plan: &Plan,
    cell: Cell,
    guests: &mut Guests,
    samples: &mut Samples,
) -> Result<Notified> {
    guests.both(&format!("idle {}", cell.idle))?;
    guests.both(&format!("map {} {}", cell.owners, cell.mapped))?;
    let mut last_signal = Vec::new();
    // The first injection finds cold caches, and in the emulator untranslated code.
    guests.both("inject 1")?;
    let start = Instant::now();
    let command = format!("inject {}", injections(&cell));
    for round in 0..plan.most.max(plan.fewest) {
        if round >= plan.fewest && start.elapsed() > plan.per_cell {
            break;
        }
        let answers = guests.round(round, &command)?;
        let answers = answers.try_map(|answer| parse_injections(answer))?;
        let signal = answers.map(|(signal, _)| signal.clone());
        samples.add("last-signal", &cell, round, &signal)?;
        let returned = answers.map(|(_, returned)| returned.clone());
        samples.add("write-returns", &cell, round, &returned)?;
        last_signal.push(signal.map(|list| median(list.iter().copied()) / NS_PER_MS));
    }
    Ok(Notified { cell, last_signal })
}

/// The answer to `inject`, in nanoseconds: to the last signal, and to the return from the
/// injecting write.
fn parse_injections(answer: &str) -> Result<(Vec<f64>, Vec<f64>)> {
    let injection = |word: &str| {
        let (signal, rest) = word.split_once(':')?;
        let returned = rest.split(':').next()?;
        Some((signal.parse::<f64>().ok()?, returned.parse::<f64>().ok()?))
    };
    let list: Option<Vec<_>> = answer.split_whitespace().map(injection).collect();
    let list = list.with_context(|| answer.to_string())?;
    Ok(list.into_iter().unzip())
}

pub fn failed(
    plan: &Plan,
    pages: usize,
    guests: &mut Guests,
    samples: &mut Samples,
) -> Result<Failed> {
    let cell = Cell {
        owners: pages,
        mapped: pages,
        idle: 0,
    };
    let ms = |ns: &f64| ns / NS_PER_MS;
    guests.both(&format!("pages {pages}"))?;
    let (mut told, mut repaired) = (Vec::new(), Vec::new());
    // The first one finds cold caches.
    guests.both("told")?;
    for round in 0..plan.fewest {
        let ns = guests.round(round, "told")?;
        let ns = ns.try_map(|answer| first_number(answer))?;
        samples.add("pages-told", &cell, round, &ns.map(|ns| vec![*ns]))?;
        told.push(ns.map(ms));
        let ns = first_number(&guests.ask(Side::Patched, "repaired")?)?;
        let pair = Pair {
            stock: Vec::new(),
            patched: vec![ns],
        };
        samples.add("pages-repaired", &cell, round, &pair)?;
        repaired.push(ms(&ns));
    }
    Ok(Failed {
        pages,
        told,
        repaired,
    })
}

/// In samples of their own: tracing takes time.
pub fn locked(
    plan: &Plan,
    cell: Cell,
    guests: &mut Guests,
    samples: &mut Samples,
) -> Result<Locked> {
    let mut longest = Vec::new();
    for round in 0..plan.lock_rounds {
        let ns = guests.round(round, "lock")?;
        let ns = ns.try_map(|answer| first_number(answer))?;
        samples.add("agf-held", &cell, round, &ns.map(|ns| vec![*ns]))?;
        longest.push(ns.map(|ns| ns / NS_PER_MS));
    }
    Ok(Locked { cell, longest })
}

fn first_number(answer: &str) -> Result<f64> {
    let word = answer.split_whitespace().next().unwrap_or_default();
    word.parse().with_context(|| format!("answer {answer:?}"))
}

/// In one state after the other; those of a kind come out side by side. Alternates between
/// the kinds as well, so that all meet the same host.
pub fn healthy(
    plan: &Plan,
    guests: &mut Guests,
    samples: &mut Samples,
    progress: &Progress,
) -> Result<Vec<Used>> {
    if plan.healthy == 0 {
        return Ok(Vec::new());
    }
    progress.step("healthy memory: trying");
    let repeats = HEALTHY.iter().map(|kind| repeats(guests, kind));
    let repeats = repeats.collect::<Result<Vec<_>>>()?;
    let used = |kind| {
        STATES.iter().map(move |state| Used {
            kind,
            state,
            per_page: Vec::new(),
        })
    };
    let mut results: Vec<Used> = HEALTHY.iter().flat_map(used).collect();
    for state in &STATES {
        guests.ask(Side::Patched, &format!("state {}", state.name))?;
        let results: Vec<_> = (results.iter_mut())
            .filter(|used| used.state.name == state.name)
            .collect();
        in_state(plan, guests, samples, progress, &repeats, results)?;
    }
    Ok(results)
}

fn in_state(
    plan: &Plan,
    guests: &mut Guests,
    samples: &mut Samples,
    progress: &Progress,
    repeats: &[usize],
    mut results: Vec<&mut Used>,
) -> Result<()> {
    let nobody = Cell {
        owners: 0,
        mapped: 0,
        idle: 0,
    };
    for round in 0..plan.healthy {
        progress.step(&format!("healthy memory, round {}", round + 1));
        for (result, repeats) in results.iter_mut().zip(repeats) {
            let kind = result.kind;
            let answers = guests.round(round, &format!("healthy {} {repeats}", kind.name))?;
            let pages = *repeats as f64 * PAGES;
            let ns = answers.try_map(|answer| anyhow::Ok(first_number(answer)? / pages))?;
            let name = format!("{}-{}", kind.name, result.state.name);
            samples.add(&name, &nobody, round, &ns.map(|ns| vec![*ns]))?;
            result.per_page.push(ns.map(|ns| ns / 1e3));
        }
    }
    Ok(())
}

/// How often all pages are used in a sample: the same in both guests, which are both
/// warm after this.
fn repeats(guests: &mut Guests, kind: &Kind) -> Result<usize> {
    let command = format!("healthy {} 3", kind.name);
    guests.both(&command)?;
    let answers = guests.round(0, &command)?;
    let once = first_number(&answers.stock)?.min(first_number(&answers.patched)?) / 3.0;
    Ok(((HEALTHY_NS / once) as usize).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_the_guest() {
        let (signal, returned) = parse_injections("1500:2500:1 3000:900:17").unwrap();
        assert_eq!(signal, [1500.0, 3000.0]);
        assert_eq!(returned, [2500.0, 900.0]);
        assert!(parse_injections("1500").is_err());
        assert_eq!(first_number("12 30 2").unwrap(), 12.0);
        assert!(first_number("").is_err());
    }
}
