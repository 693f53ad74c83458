// SPDX-License-Identifier: GPL-2.0

//! Limits of time on the host.

use std::time::Duration;

#[path = "../../probe/src/pace.rs"]
mod measured;

use measured::Reference;

/// A machine with two CPUs that has nothing else to do.
const REFERENCE: Reference = Reference {
    spin: Duration::from_millis(8),
    spawn: Duration::from_millis(10),
};

/// A limit of so many seconds, or more where the machine is slow.
pub fn limit(seconds: u64) -> Duration {
    // The host keeps it for one run only.
    Duration::from_secs(seconds).mul_f64(measured::factor(&REFERENCE, "/dev/null"))
}
