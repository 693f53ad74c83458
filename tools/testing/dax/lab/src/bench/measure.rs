// SPDX-License-Identifier: GPL-2.0

//! The measurements, round by round.

use std::time::Instant;

use anyhow::{Context, Result};

use super::driver::{Guests, Side};
use super::plan::{injections, Cell, Healthy, Plan, State, HEALTHY, STATES};
use super::progress::Progress;
use super::samples::Samples;
use super::stats::{interval, median, speedups, Pair, Summary};

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
    /// To the return from the injecting write.
    pub returned: Vec<Pair<f64>>,
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

/// What a page of healthy memory took, in microseconds.
pub struct Used {
    pub kind: &'static Healthy,
    pub state: &'static State,
    pub per_page: Vec<Pair<f64>>,
}

impl Used {
    pub fn about(&self) -> String {
        format!("{}; {}", self.kind.about, self.state.about)
    }

    /// As short as may be, where those of one kind stand side by side.
    pub fn label(&self) -> &'static str {
        match self.state.name {
            "never" => self.kind.name,
            state => state,
        }
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
    let mut result = Notified {
        cell,
        last_signal: Vec::new(),
        returned: Vec::new(),
    };
    // The first injection finds cold caches, and in the emulator untranslated code.
    guests.both("inject 1")?;
    let start = Instant::now();
    let command = format!("inject {}", injections(&cell));
    for round in 0..plan.most.max(plan.fewest) {
        if round >= plan.fewest && start.elapsed() > plan.per_cell {
            break;
        }
        let answers = guests.round(round, &command)?;
        let stock = Injections::parse(&answers.stock)?;
        let patched = Injections::parse(&answers.patched)?;
        for (side, list) in [(Side::Stock, &stock), (Side::Patched, &patched)] {
            samples.add("last-signal", &cell, round, side, &list.last_signal)?;
            samples.add("write-returns", &cell, round, side, &list.returned)?;
        }
        let ms = |list: &[f64]| median(list.iter().copied()) / NS_PER_MS;
        result.last_signal.push(Pair {
            stock: ms(&stock.last_signal),
            patched: ms(&patched.last_signal),
        });
        result.returned.push(Pair {
            stock: ms(&stock.returned),
            patched: ms(&patched.returned),
        });
    }
    Ok(result)
}

/// The answer to `inject`, in nanoseconds.
struct Injections {
    last_signal: Vec<f64>,
    returned: Vec<f64>,
}

impl Injections {
    fn parse(answer: &str) -> Result<Self> {
        let (mut last_signal, mut returned) = (Vec::new(), Vec::new());
        for word in answer.split_whitespace() {
            let mut fields = word.split(':').map(str::parse);
            let mut next = || fields.next().and_then(Result::ok);
            last_signal.push(next().with_context(|| answer.to_string())?);
            returned.push(next().with_context(|| answer.to_string())?);
        }
        Ok(Self {
            last_signal,
            returned,
        })
    }
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
        let answers = guests.round(round, "lock")?;
        let ns = Pair {
            stock: first_number(&answers.stock)?,
            patched: first_number(&answers.patched)?,
        };
        samples.add("agf-held", &cell, round, Side::Stock, &[ns.stock])?;
        samples.add("agf-held", &cell, round, Side::Patched, &[ns.patched])?;
        longest.push(Pair {
            stock: ns.stock / NS_PER_MS,
            patched: ns.patched / NS_PER_MS,
        });
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
            let per_page = |answer: &str| -> Result<f64> {
                Ok(first_number(answer)? / *repeats as f64 / PAGES)
            };
            let ns = Pair {
                stock: per_page(&answers.stock)?,
                patched: per_page(&answers.patched)?,
            };
            let name = format!("{}-{}", kind.name, result.state.name);
            samples.add(&name, &nobody, round, Side::Stock, &[ns.stock])?;
            samples.add(&name, &nobody, round, Side::Patched, &[ns.patched])?;
            result.per_page.push(Pair {
                stock: ns.stock / 1e3,
                patched: ns.patched / 1e3,
            });
        }
    }
    Ok(())
}

/// How often all pages are used in a sample: the same in both guests, which are both
/// warm after this.
fn repeats(guests: &mut Guests, kind: &Healthy) -> Result<usize> {
    guests.both(&format!("healthy {} 3", kind.name))?;
    let answers = guests.round(0, &format!("healthy {} 3", kind.name))?;
    let once = first_number(&answers.stock)?.min(first_number(&answers.patched)?) / 3.0;
    Ok(((HEALTHY_NS / once) as usize).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_the_guest() {
        let list = Injections::parse("1500:2500:1 3000:900:17").unwrap();
        assert_eq!(list.last_signal, [1500.0, 3000.0]);
        assert_eq!(list.returned, [2500.0, 900.0]);
        assert!(Injections::parse("1500").is_err());
        assert_eq!(first_number("12 30 2").unwrap(), 12.0);
        assert!(first_number("").is_err());
    }
}
