// SPDX-License-Identifier: GPL-2.0

//! How slow this machine is, beside the one for which the limits of time were chosen. The host's
//! tools compile this file too.

use std::fs;
use std::hint::black_box;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long a fixed loop, and some processes, take on the machine that limits were chosen for.
pub struct Reference {
    pub spin: Duration,
    pub spawn: Duration,
}

/// A limit is that much longer at most, however slow the machine is.
const MOST: f64 = 8.0;
const ROUNDS: u32 = 2_000_000;
const PROCESSES: usize = 5;

fn spin() {
    let mut word = 1u64;
    for _ in 0..ROUNDS {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
    }
    black_box(word);
}

/// What can't be started takes no time: the loop counts alone then.
fn spawn() {
    for _ in 0..PROCESSES {
        let _ = Command::new("true").stdin(Stdio::null()).status();
    }
}

/// The middle one of three times.
fn time(what: fn()) -> Duration {
    let mut times = [Duration::ZERO; 3];
    for time in &mut times {
        let start = Instant::now();
        what();
        *time = start.elapsed();
    }
    times.sort_unstable();
    times[1]
}

/// By how much limits grow: 1 on a machine that is as fast, or faster.
fn factor_of(reference: &Reference, spin: Duration, spawn: Duration) -> f64 {
    let ratio = |time: Duration, reference: Duration| time.as_secs_f64() / reference.as_secs_f64();
    let ratio = ratio(spin, reference.spin).max(ratio(spawn, reference.spawn));
    ratio.clamp(1.0, MOST)
}

/// Measures it, and says so.
pub fn measure(reference: &Reference) -> f64 {
    let (spin, spawn) = (time(spin), time(spawn));
    let factor = factor_of(reference, spin, spawn);
    eprintln!(
        "# limits of time: {factor:.1} times as long (loop {} ms, processes {} ms)",
        spin.as_millis(),
        spawn.as_millis()
    );
    factor
}

/// The same, once for as long as the file is there, which is in memory.
pub fn factor(reference: &Reference, file: &str) -> f64 {
    static FACTOR: OnceLock<f64> = OnceLock::new();
    *FACTOR.get_or_init(|| {
        let known = fs::read_to_string(file).ok();
        let known = known.and_then(|text| text.trim().parse::<f64>().ok());
        let factor = known.filter(|factor| (1.0..=MOST).contains(factor));
        factor.unwrap_or_else(|| {
            let factor = measure(reference);
            // Without it, the next process measures anew.
            let _ = fs::write(file, factor.to_string());
            factor
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_machines_have_longer_limits() {
        let ms = Duration::from_millis;
        let reference = Reference {
            spin: ms(10),
            spawn: ms(40),
        };
        let factor = |spin, spawn| factor_of(&reference, ms(spin), ms(spawn));
        assert_eq!(factor(10, 40), 1.0);
        assert_eq!(factor(1, 4), 1.0);
        assert_eq!(factor(30, 40), 3.0);
        assert_eq!(factor(10, 80), 2.0);
        assert_eq!(factor(10_000, 40), MOST);
    }

    #[test]
    fn it_can_be_measured() {
        let factor = measure(&Reference {
            spin: Duration::from_secs(100),
            spawn: Duration::from_secs(100),
        });
        assert_eq!(factor, 1.0);
    }
}
